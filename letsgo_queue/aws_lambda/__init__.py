"""AWS Lambda behind an SQS event source: records and batches, for both packages."""

// LetsGo's client, cut down to its local mode; it sends its argument and prints the message's id.
// https://github.com/47chapters/letsgo/blob/main/packages/queue/src/index.ts
import http from "http";

const createId = () => Math.random().toString(36).substring(2, 15);

async function enqueueLocal(message) {
  const serializedMessage = JSON.stringify(message);
  const sender = `letsgo:local:${process.env.USER || "unknown"}`;
  const payload = {
    Records: [
      {
        messageId: createId(),
        receiptHandle: createId(),
        body: serializedMessage,
        attributes: {
          ApproximateReceiveCount: "1",
          SentTimestamp: Date.now().toString(),
          SenderId: sender,
          ApproximateFirstReceiveTimestamp: Date.now().toString(),
        },
        messageAttributes: {},
        md5OfBody: "{md5}",
        eventSource: "letsgo:local",
        eventSourceARN: sender,
        awsRegion: "us-west-2",
      },
    ],
  };
  await new Promise((resolve, reject) => {
    const req = http
      .request(process.env.LETSGO_LOCAL_QUEUE_URL, { method: "POST" }, (res) => {
        if (res.statusCode !== 201) {
          return reject(
            new Error(`Unexpected status code ${res.statusCode} from local queue.`)
          );
        }
        res.on("data", () => {});
        res.on("end", () => resolve(undefined));
      })
      .end(JSON.stringify(payload));
    req.on("error", reject);
  });
  return { messageId: payload.Records[0].messageId };
}

console.log((await enqueueLocal(JSON.parse(process.argv[2]))).messageId);

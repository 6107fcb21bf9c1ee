from claimcheck.audit.report import AuditReport


def page(report: AuditReport) -> str:
    return ""

"""Amazon S3 in front of moto: addressing, regions, permissions, CORS, and bodies that stream to and from files."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

from simulator.aws import checksums, policy, wire
from simulator.aws.identity import Caller
from simulator.aws.moto_state import FileBody, MotoState
from simulator.aws.service import service_model
from simulator.aws.wire import Answer, Environ

_VIRTUAL_HOST = re.compile(
    r"(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])\.(?:s3[.-][a-z0-9.-]*amazonaws\.com|localhost)(?::\d+)?"
)
_REGION_HOST = re.compile(
    r"(?:.*\.)?s3[.-](?:dualstack\.)?(?P<region>[a-z]{2}(?:-[a-z]+)+-\d)\.amazonaws\.com(?::\d+)?"
)
_BLOCK = 1 << 20
_MOST = 5 << 30

_ACTIONS = {
    "HeadObject": "GetObject",
    "ListObjects": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "ListObjectVersions": "ListBucketVersions",
    "HeadBucket": "ListBucket",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "UploadPartCopy": "PutObject",
    "CopyObject": "PutObject",
    "CompleteMultipartUpload": "PutObject",
    "PostObject": "PutObject",
    "ListBuckets": "ListAllMyBuckets",
    "ListParts": "ListMultipartUploadParts",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "DeleteObjects": "DeleteObject",
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "PutBucketEncryption": "PutEncryptionConfiguration",
    "DeleteBucketEncryption": "PutEncryptionConfiguration",
    # The older operations look the same in a request.
    "GetBucketLifecycle": "GetLifecycleConfiguration",
    "PutBucketLifecycle": "PutLifecycleConfiguration",
    "DeleteBucketLifecycle": "PutLifecycleConfiguration",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
    "GetBucketCors": "GetBucketCORS",
    "PutBucketCors": "PutBucketCORS",
    "DeleteBucketCors": "PutBucketCORS",
    "GetObjectAttributes": "GetObject",
}


@dataclass(frozen=True)
class Target:
    """What an S3 request is about."""

    bucket: str
    key: str
    query: dict[str, str]


def target_of(environ: Environ) -> Target:
    """Bucket and key, from a path-style or virtual-host-style request."""
    path = wire.raw_path(environ)
    host = str(environ.get("HTTP_HOST") or "")
    query = dict(parse_qsl(str(environ.get("QUERY_STRING") or ""), keep_blank_values=True))
    virtual = _VIRTUAL_HOST.fullmatch(host)
    if virtual and not host.startswith("s3."):
        return Target(virtual["bucket"], unquote(path.removeprefix("/")), query)
    bucket, _, key = path.removeprefix("/").partition("/")
    return Target(unquote(bucket), unquote(key), query)


@cache
def _candidates() -> dict[tuple[str, bool, bool], list[tuple[str, set[str], dict[str, str], set[str]]]]:
    model = service_model("s3")
    found: dict[tuple[str, bool, bool], list[tuple[str, set[str], dict[str, str], set[str]]]] = {}
    for name in model.operation_names:
        operation = model.operation_model(name)
        path, _, rest = str(operation.http["requestUri"]).partition("?")
        fixed = dict(parse_qsl(rest, keep_blank_values=True))
        asked, heads = set(fixed), set()
        if operation.input_shape is not None:
            for member in operation.input_shape.required_members:
                serialization = operation.input_shape.members[member].serialization
                if serialization.get("location") == "querystring":
                    asked.add(serialization["name"])
                elif serialization.get("location") == "header":
                    heads.add(serialization["name"].lower())
        where = (str(operation.http["method"]), "{Bucket}" in path, "{Key" in path)
        fixed_values = {key: value for key, value in fixed.items() if value}
        found.setdefault(where, []).append((name, asked, fixed_values, heads))
    return found


def operation_of(environ: Environ) -> str:
    """The S3 operation's name, such as "PutObject"."""
    method = str(environ["REQUEST_METHOD"])
    if method == "OPTIONS":
        return "Options"
    target = target_of(environ)
    best, score = "", -1
    for name, asked, fixed, heads in _candidates().get((method, bool(target.bucket), bool(target.key)), []):
        if any(key not in target.query for key in asked):
            continue
        if any(target.query.get(key) != value for key, value in fixed.items()):
            continue
        if any(f"HTTP_{head.upper().replace('-', '_')}" not in environ for head in heads):
            continue
        weight = 2 * len(asked) + len(heads)
        if name in ("ListDirectoryBuckets", "CreateSession", "GetObjectTorrent") and not asked:
            continue
        # Some operations share a path; the plain one comes first in the model's own naming.
        if weight > score or (weight == score and name in ("ListBuckets", "GetObject", "PutObject", "DeleteObject")):
            best, score = name, weight
    if not best and method == "POST" and target.bucket:
        return "PostObject"
    return best


class _Refused(Exception):
    def __init__(self, code: str, message: str, status: int, **members: Any) -> None:
        super().__init__(message)
        self.answer = wire.error("s3", code, message, status, members)


class S3:
    """S3 requests, authenticated already."""

    def __init__(self, moto: MotoState) -> None:
        self._moto = moto

    def preflight(self, environ: Environ) -> Answer:
        """Answer a browser's OPTIONS request by the bucket's CORS rules."""
        headers = wire.headers_of(environ)
        target = target_of(environ)
        origin, method = headers.get("origin"), headers.get("access-control-request-method")
        if not origin or not method:
            return wire.error("s3", "BadRequest", "Insufficient information. Origin request header needed.", 400)
        wanted = [name.strip() for name in headers.get("access-control-request-headers", "").split(",") if name.strip()]
        allowed = self._cors(target.bucket, origin, method, wanted)
        if allowed is None:
            return wire.error(
                "s3",
                "AccessForbidden",
                "CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, "
                "request method / Access-Control-Request-Method or Access-Control-Request-Headers are not "
                "whitelisted by the resource's CORS spec.",
                403,
            )
        if wanted:
            allowed["Access-Control-Allow-Headers"] = ", ".join(name.lower() for name in wanted)
        return Answer(200, allowed)

    def _cors(self, name: str, origin: str, method: str, wanted: list[str]) -> dict[str, str] | None:
        bucket = self._moto.bucket(name)
        if bucket is None:
            return None
        for rule in bucket.cors:
            origins = policy.as_list(rule.allowed_origins)
            if method not in policy.as_list(rule.allowed_methods):
                continue
            if not any(policy.glob_match(str(entry), origin) for entry in origins):
                continue
            heads = [str(entry) for entry in policy.as_list(rule.allowed_headers)]
            if not all(any(policy.glob_match(head, one, ignore_case=True) for head in heads) for one in wanted):
                continue
            anyone = "*" in origins
            found = {
                "Access-Control-Allow-Origin": "*" if anyone else origin,
                "Access-Control-Allow-Methods": ", ".join(policy.as_list(rule.allowed_methods)),
                "Vary": "Origin, Access-Control-Request-Headers, Access-Control-Request-Method",
            }
            if not anyone:
                found["Access-Control-Allow-Credentials"] = "true"
            if rule.exposed_headers:
                found["Access-Control-Expose-Headers"] = ", ".join(policy.as_list(rule.exposed_headers))
            if rule.max_age_seconds:
                found["Access-Control-Max-Age"] = str(rule.max_age_seconds)
            return found
        return None

    def handle(self, environ: Environ, caller: Caller | None, region: str, lock: Any) -> Answer:
        """Answer one request of `caller` (None for an unsigned one), signed for `region`.

        The body is read before `lock` is taken, so a slow upload holds up nobody.
        """
        target = target_of(environ)
        operation = operation_of(environ)
        headers = wire.headers_of(environ)
        try:
            with lock:
                if not operation:
                    raise _Refused(
                        "MethodNotAllowed", "The specified method is not allowed against this resource.", 405
                    )
                owner = self._admit(environ, target, operation, caller, region)
            if operation in ("PutObject", "UploadPart"):
                answer = self._store(environ, target, operation, headers, owner, region, lock)
            elif operation == "GetObject":
                answer = self._fetch(environ, target, headers, owner, region, lock)
            else:
                body = wire.read_body(environ)
                with lock:
                    answer = self._other(environ, target, operation, owner, region, headers, body)
        except _Refused as refused:
            answer = refused.answer
        if "origin" in headers:
            with lock:
                answer.headers = {
                    name: value
                    for name, value in answer.headers.items()
                    if not name.lower().startswith("access-control-")
                }
                answer.headers.update(
                    self._cors(target.bucket, headers["origin"], str(environ["REQUEST_METHOD"]), []) or {}
                )
        answer.headers.setdefault("x-amz-request-id", wire.request_id())
        return answer

    def _admit(self, environ: Environ, target: Target, operation: str, caller: Caller | None, region: str) -> str:
        """Check bucket, region and permission; returns the account that owns the bucket."""
        if not target.bucket:
            if caller is None:
                raise _Refused("AccessDenied", "Access Denied", 403)
            self._permit(caller, None, "s3:ListAllMyBuckets", "*", {})
            return caller.account
        if operation == "CreateBucket":
            if caller is None:
                raise _Refused("AccessDenied", "Access Denied", 403)
            self._permit(caller, None, "s3:CreateBucket", f"arn:aws:s3:::{target.bucket}", {})
            existing = self._moto.bucket(target.bucket)
            if existing is not None and existing.account_id == caller.account and region != "us-east-1":
                raise _Refused(
                    "BucketAlreadyOwnedByYou",
                    "Your previous request to create the named bucket succeeded and you already own it.",
                    409,
                    BucketName=target.bucket,
                )
            return caller.account
        bucket = self._moto.bucket(target.bucket)
        if bucket is None:
            raise _Refused("NoSuchBucket", "The specified bucket does not exist", 404, BucketName=target.bucket)
        self._check_region(environ, target, operation, bucket, region, signed=caller is not None)
        action = "s3:" + _ACTIONS.get(operation, operation)
        resource = f"arn:aws:s3:::{target.bucket}" + (f"/{target.key}" if target.key else "")
        if operation == "DeleteObjects":
            resource += "/*"
        context: dict[str, Any] = {
            "s3:ResourceAccount": bucket.account_id,
            "aws:ResourceAccount": bucket.account_id,
        }
        if "prefix" in target.query:
            context["s3:prefix"] = target.query["prefix"]
        self._permit(caller, bucket, action, resource, context)
        upload = target.query.get("uploadId")
        if upload is not None and upload not in bucket.multiparts:
            raise _Refused(
                "NoSuchUpload",
                "The specified upload does not exist. The upload ID may be invalid, or the upload may have been "
                "aborted or completed.",
                404,
                UploadId=upload,
            )
        return str(bucket.account_id)

    def _check_region(
        self, environ: Environ, target: Target, operation: str, bucket: Any, region: str, *, signed: bool
    ) -> None:
        home = str(bucket.region_name)
        host = _REGION_HOST.fullmatch(str(environ.get("HTTP_HOST") or ""))
        refusal = None
        if host and host["region"] != home:
            refusal = _Refused(
                "PermanentRedirect",
                "The bucket you are attempting to access must be addressed using the specified endpoint. Please send "
                "all future requests to this endpoint.",
                301,
                Endpoint=f"{target.bucket}.s3.{home}.amazonaws.com",
                Bucket=target.bucket,
            )
        elif signed and region != home and not (operation == "GetBucketLocation" and region == "us-east-1"):
            refusal = _Refused(
                "AuthorizationHeaderMalformed",
                f"The authorization header is malformed; the region '{region}' is wrong; expecting '{home}'",
                400,
                Region=home,
            )
        if refusal is not None:
            refusal.answer.headers["x-amz-bucket-region"] = home
            raise refusal

    def _permit(self, caller: Caller | None, bucket: Any, action: str, resource: str, context: dict[str, Any]) -> None:
        document = None
        if bucket is not None and bucket.policy:
            document = bucket.policy.decode() if isinstance(bucket.policy, bytes) else bucket.policy
        principals = caller.principals if caller else ["*"]
        shared = policy.Request(action, resource, {**(caller.context() if caller else {}), **context})
        by_bucket = policy.resource_policy_decision(document, principals, shared) if document else "None"
        if by_bucket == "Deny":
            raise _Refused(
                "AccessDenied",
                f"User: {caller.arn if caller else 'anonymous'} is not authorized to perform: {action} on resource: "
                f'"{resource}" with an explicit deny in a resource-based policy',
                403,
            )
        if caller is None:
            allowed = by_bucket == "Allow"
        else:
            own = caller.verdict(policy.Request(action, resource, context))
            if bucket is not None and bucket.account_id != caller.account:
                allowed = own == "Allow" and by_bucket == "Allow"
            else:
                allowed = own == "Allow" or (own == "None" and by_bucket == "Allow")
            if not allowed:
                kind = "resource-based" if own == "Allow" else "identity-based"
                verb = "with an explicit deny in an" if own == "Deny" else "because no"
                tail = "policy" if own == "Deny" else f"policy allows the {action} action"
                raise _Refused(
                    "AccessDenied",
                    f"User: {caller.arn} is not authorized to perform: {action} on resource: "
                    f'"{resource}" {verb} {kind} {tail}',
                    403,
                )
        if not allowed:
            raise _Refused("AccessDenied", "Access Denied", 403)

    def _ask(
        self,
        environ: Environ,
        target: Target,
        owner: str,
        region: str,
        headers: dict[str, str],
        body: bytes,
        method: str | None = None,
    ) -> Answer:
        path = "/" + quote(target.bucket)
        if target.key:
            path += "/" + quote(target.key, safe="/~-_.!*'()")
        query = str(environ.get("QUERY_STRING") or "")
        passed = {
            name: value
            for name, value in headers.items()
            if name not in ("host", "content-length", "transfer-encoding", "connection", "user-agent", "expect")
        }
        # moto works out the region from the header's credential scope and asks nothing else of it.
        passed["authorization"] = f"AWS4-HMAC-SHA256 Credential=SIMULATED/20260101/{region}/s3/aws4_request, x"
        query = "&".join(piece for piece in query.split("&") if piece and not piece.lower().startswith("x-amz-"))
        status, answered, content = self._moto.ask(
            "s3",
            owner,
            method or str(environ["REQUEST_METHOD"]),
            f"http://127.0.0.1{path}" + (f"?{query}" if query else ""),
            passed,
            body,
        )
        answered = {name: value for name, value in answered.items() if name.lower() not in ("server", "date")}
        bucket = self._moto.bucket(target.bucket)
        if bucket is not None and operation_of(environ) == "HeadBucket":
            answered["x-amz-bucket-region"] = str(bucket.region_name)
        if status >= 400 and not content and environ["REQUEST_METHOD"] != "HEAD" and method is None:
            return wire.error("s3", "AccessDenied" if status == 403 else "InvalidRequest", "Request refused", status)
        return Answer(status, answered, content)

    def _multipart(self, target: Target) -> Any | None:
        bucket = self._moto.bucket(target.bucket)
        return bucket.multiparts.get(target.query.get("uploadId")) if bucket is not None else None

    def _other(
        self,
        environ: Environ,
        target: Target,
        operation: str,
        owner: str,
        region: str,
        headers: dict[str, str],
        body: bytes,
    ) -> Answer:
        """Everything but the bodies of objects; what moto doesn't know of multipart uploads and regions is added."""
        if operation == "CompleteMultipartUpload" and checksums.wrong_part(body, self._multipart(target)):
            raise _Refused(
                "InvalidPart",
                "One or more of the specified parts could not be found. The part may not have been uploaded, or the "
                "specified entity tag may not match the part's entity tag.",
                400,
            )
        answer = self._ask(environ, target, owner, region, headers, body)
        if answer.status != 200:
            return answer
        if operation == "CreateMultipartUpload":
            bucket = self._moto.bucket(target.bucket)
            begun = re.search(rb"<UploadId>([^<]+)</UploadId>", answer.body)
            if bucket is not None and begun:
                checksums.promise(bucket.multiparts[begun[1].decode()], headers)
        elif operation == "ListParts":
            answer.body = checksums.with_checksums(answer.body, self._multipart(target))
        elif operation == "ListBuckets":
            answer.body = self._of_region(answer.body, target.query.get("bucket-region", ""))
        return answer

    def _of_region(self, listed: bytes, region: str) -> bytes:
        """ListBuckets tells each bucket's region, and lists those of one region alone if it is asked to."""

        def told(found: re.Match[bytes]) -> bytes:
            name = re.search(rb"<Name>([^<]+)</Name>", found[0])
            bucket = self._moto.bucket(name[1].decode()) if name else None
            home = str(bucket.region_name) if bucket is not None else ""
            if region and home != region:
                return b""
            return found[0].replace(b"</Bucket>", f"<BucketRegion>{home}</BucketRegion></Bucket>".encode())

        return re.sub(rb"<Bucket>.*?</Bucket>", told, listed, flags=re.DOTALL)

    def _store(
        self,
        environ: Environ,
        target: Target,
        operation: str,
        headers: dict[str, str],
        owner: str,
        region: str,
        lock: Any,
    ) -> Answer:
        if operation == "UploadPart" and not re.fullmatch(r"0*[1-9]\d{0,4}", target.query["partNumber"]):
            raise _Refused(
                "InvalidArgument",
                "Part number must be an integer between 1 and 10000, inclusive",
                400,
                ArgumentName="partNumber",
                ArgumentValue=target.query["partNumber"][:50],
            )
        body, trailers = _receive(environ, headers, self._moto.new_body_path())
        try:
            declared = headers.get("content-md5")
            if declared is not None and declared != base64.b64encode(bytes.fromhex(body.md5 or "")).decode():
                raise _Refused("BadDigest", "The Content-MD5 you specified did not match what we received.", 400)
            passed = {
                name: value
                for name, value in headers.items()
                if name not in ("x-amz-content-sha256", "x-amz-decoded-content-length", "x-amz-trailer", "content-md5")
            }
            passed.update(trailers)
            differs = checksums.differing(body.path, passed)
            if differs:
                raise _Refused("BadDigest", f"The {differs} you specified did not match the calculated checksum.", 400)
            multipart = self._multipart(target) if operation == "UploadPart" else None
            promised = checksums.promised(multipart)
            if promised and f"{checksums.PREFIX}{promised}" not in passed:
                raise _Refused(
                    "InvalidRequest",
                    f"Checksum Type mismatch occurred, expected checksum Type: {promised}, actual checksum Type: null",
                    400,
                )
            if passed.get("content-encoding"):
                kept = [one.strip() for one in passed["content-encoding"].split(",") if one.strip() != "aws-chunked"]
                passed.pop("content-encoding")
                if kept:
                    passed["content-encoding"] = ",".join(kept)
            with lock:
                answer = self._ask(environ, target, owner, region, passed, body)
                if multipart is not None and answer.status == 200:
                    checksums.keep(multipart.parts[int(target.query["partNumber"])], passed)
        finally:
            # moto renamed the file when it took the body over.
            body.path.unlink(missing_ok=True)
        return answer

    def _fetch(
        self, environ: Environ, target: Target, headers: dict[str, str], owner: str, region: str, lock: Any
    ) -> Answer:
        with lock:
            asked = {name: value for name, value in headers.items() if name != "range"}
            head = self._ask(environ, target, owner, region, asked, b"", method="HEAD")
            version = target.query.get("versionId")
            key = self._moto.object(target.bucket, target.key, version) if head.status == 200 else None
            if key is None:
                if head.status in (304, 412):
                    return head
                if head.status == 404 or head.status == 200:
                    return wire.error("s3", "NoSuchKey", "The specified key does not exist.", 404, {"Key": target.key})
                with_body = self._ask(environ, target, owner, region, asked, b"")
                return with_body
            path, size = key.path, int(key.size)
            # Held open by the answer: an overwrite in the meantime leaves this reader its body.
        answer = Answer(200, head.headers, path=path, start=0, end=size)
        answer.headers["Accept-Ranges"] = "bytes"
        span = headers.get("range", "")
        found = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", span.strip())
        if not found or not (found[1] or found[2]):
            return answer
        if found[1]:
            first, last = int(found[1]), min(int(found[2]) if found[2] else size - 1, size - 1)
        else:
            first, last = max(0, size - int(found[2])), size - 1
        if first >= size or (found[1] and found[2] and int(found[2]) < first) or (not found[1] and int(found[2]) == 0):
            return wire.error(
                "s3",
                "InvalidRange",
                "The requested range is not satisfiable",
                416,
                {"RangeRequested": span, "ActualObjectSize": size},
            )
        answer.status, answer.start, answer.end = 206, first, last + 1
        answer.headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        for name in [name for name in answer.headers if name.lower().startswith("x-amz-checksum-")]:
            del answer.headers[name]
        return answer


def _receive(environ: Environ, headers: dict[str, str], path: Path) -> tuple[FileBody, dict[str, str]]:
    """Write the request's body to the file `path`, undoing AWS's own chunking; also its trailing checksum headers.

    Raises _Refused for a body that is cut short or badly chunked.
    """
    stream = environ["wsgi.input"]
    chunked = headers.get("x-amz-content-sha256", "").startswith("STREAMING-") or "aws-chunked" in headers.get(
        "content-encoding", ""
    )
    length = headers.get("content-length")
    body = FileBody()
    body.path = path
    digest = hashlib.md5(usedforsecurity=False)
    trailers: dict[str, str] = {}
    size = 0
    try:
        with body.path.open("wb") as target:
            if chunked:
                while True:
                    found = re.fullmatch(rb"([0-9a-fA-F]{1,8})(?:;[^\r\n]*)?\r?\n", stream.readline(512))
                    if not found:
                        raise _Refused("IncompleteBody", "The request body terminated unexpectedly", 400)
                    left = int(found[1], 16)
                    if left == 0:
                        break
                    size += left
                    while left:
                        piece = stream.read(min(left, _BLOCK))
                        if not piece:
                            raise _Refused("IncompleteBody", "The request body terminated unexpectedly", 400)
                        left -= len(piece)
                        digest.update(piece)
                        target.write(piece)
                    stream.readline(16)
                for _ in range(16):
                    line = stream.readline(1024).strip()
                    if not line:
                        break
                    name, _, value = line.decode("latin-1").partition(":")
                    if re.fullmatch(r"x-amz-checksum-\w+", name.strip().lower()):
                        trailers[name.strip().lower()] = value.strip()
            elif length is not None or environ.get("wsgi.input_terminated"):
                left = int(length) if length is not None and length.isdigit() else _MOST
                expected = left if length is not None else None
                while left:
                    piece = stream.read(min(left, _BLOCK))
                    if not piece:
                        break
                    left -= len(piece)
                    size += len(piece)
                    digest.update(piece)
                    target.write(piece)
                if expected is not None and size != expected:
                    raise _Refused("IncompleteBody", "The request body terminated unexpectedly", 400)
            else:
                raise _Refused("MissingContentLength", "You must provide the Content-Length HTTP header.", 411)
    except BaseException:
        body.path.unlink(missing_ok=True)
        raise
    body.size = size
    body.md5 = digest.hexdigest()
    return body, trailers

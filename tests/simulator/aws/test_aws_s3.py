"""S3: addressing, regions, accounts, browsers, and bodies that stream."""

import hashlib
import http.client
import io
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import pytest
from boto3.s3.transfer import TransferConfig

CUSTOMER = "123456789012"
OTHER = "210987654321"
CORS = {
    "CORSRules": [
        {
            "AllowedMethods": ["PUT", "GET"],
            "AllowedOrigins": ["https://portal.example"],
            "AllowedHeaders": ["*"],
            "ExposeHeaders": ["ETag"],
            "MaxAgeSeconds": 300,
        }
    ]
}


def code_of(error):
    return error["Error"]["Code"]


def browser(url, method, headers=None, body=None):
    """Status, headers and body of a request without AWS's headers."""
    request = urllib.request.Request(url, data=body, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def test_a_multipart_upload_comes_back_whole_and_in_ranges(aws):
    aws.bucket("data-bucket")
    s3 = aws.client("s3")
    content = b"".join(hashlib.sha256(str(n).encode()).digest() for n in range(400_000))
    parts = TransferConfig(multipart_threshold=1 << 20, multipart_chunksize=5 << 20)
    s3.upload_fileobj(io.BytesIO(content), "data-bucket", "big/file.bin", Config=parts)
    head = s3.head_object(Bucket="data-bucket", Key="big/file.bin")
    assert head["ContentLength"] == len(content)
    assert head["ETag"].endswith('-3"')
    got = io.BytesIO()
    s3.download_fileobj("data-bucket", "big/file.bin", got, Config=parts)
    assert got.getvalue() == content
    piece = s3.get_object(Bucket="data-bucket", Key="big/file.bin", Range="bytes=100-199")
    assert piece["ContentRange"] == f"bytes 100-199/{len(content)}"
    assert piece["Body"].read() == content[100:200]
    assert s3.get_object(Bucket="data-bucket", Key="big/file.bin", Range="bytes=-5")["Body"].read() == content[-5:]


def test_ranges_beyond_the_end_and_objects_that_are_not_there(aws, refused):
    aws.bucket("data-bucket")
    s3 = aws.client("s3")
    s3.put_object(Bucket="data-bucket", Key="k", Body=b"12345")
    assert code_of(refused(s3.get_object, Bucket="data-bucket", Key="k", Range="bytes=5-9")) == "InvalidRange"
    assert code_of(refused(s3.get_object, Bucket="data-bucket", Key="none")) == "NoSuchKey"
    assert code_of(refused(s3.head_object, Bucket="data-bucket", Key="none")) == "404"
    assert code_of(refused(s3.get_object, Bucket="nobody-has-this", Key="k")) == "NoSuchBucket"
    unknown = {"Bucket": "data-bucket", "Key": "k", "UploadId": "none"}
    assert code_of(refused(s3.upload_part, PartNumber=1, Body=b"", **unknown)) == "NoSuchUpload"
    assert code_of(refused(s3.abort_multipart_upload, **unknown)) == "NoSuchUpload"


def test_parts_must_fit(aws, refused):
    aws.bucket("data-bucket")
    s3 = aws.client("s3")
    upload = {"Bucket": "data-bucket", "Key": "k"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    tags = [s3.upload_part(PartNumber=n, Body=b"x" * 10, **upload)["ETag"] for n in (1, 2)]
    ordered = [{"PartNumber": n, "ETag": tag} for n, tag in enumerate(tags, start=1)]
    complete = s3.complete_multipart_upload
    assert code_of(refused(complete, MultipartUpload={"Parts": ordered}, **upload)) == "EntityTooSmall"
    assert code_of(refused(complete, MultipartUpload={"Parts": ordered[::-1]}, **upload)) == "InvalidPartOrder"
    wrong = [{"PartNumber": 1, "ETag": '"0"'}]
    assert code_of(refused(complete, MultipartUpload={"Parts": wrong}, **upload)) == "InvalidPart"
    s3.complete_multipart_upload(MultipartUpload={"Parts": ordered[:1]}, **upload)
    assert s3.get_object(Bucket="data-bucket", Key="k")["Body"].read() == b"x" * 10
    assert s3.list_multipart_uploads(Bucket="data-bucket").get("Uploads") is None


@pytest.mark.parametrize("key", ["a b/c+d.csv", "ä/ö.csv", "100%/x", "a/b//c", "q?x=1&y", "~tilde/'quote'(1)*.csv"])
def test_keys_of_all_kinds(aws, key):
    aws.bucket("data-bucket")
    s3 = aws.client("s3")
    s3.put_object(Bucket="data-bucket", Key=key, Body=b"x", ContentType="text/csv", Metadata={"run": "7"})
    got = s3.get_object(Bucket="data-bucket", Key=key)
    assert (got["Body"].read(), got["ContentType"], got["Metadata"]) == (b"x", "text/csv", {"run": "7"})
    assert [o["Key"] for o in s3.list_objects_v2(Bucket="data-bucket")["Contents"]] == [key]
    s3.delete_object(Bucket="data-bucket", Key=key)
    assert s3.list_objects_v2(Bucket="data-bucket")["KeyCount"] == 0


def test_listing_and_settings_of_a_bucket(aws):
    aws.bucket("data-bucket")
    s3 = aws.client("s3")
    for name in ("in/a", "in/b", "in/deep/c", "out/d"):
        s3.put_object(Bucket="data-bucket", Key=name, Body=b"x")
    page = s3.list_objects_v2(Bucket="data-bucket", Prefix="in/", Delimiter="/", MaxKeys=2)
    assert [o["Key"] for o in page["Contents"]] == ["in/a", "in/b"]
    s3.put_bucket_encryption(
        Bucket="data-bucket",
        ServerSideEncryptionConfiguration={
            "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
        },
    )
    rules = s3.get_bucket_encryption(Bucket="data-bucket")["ServerSideEncryptionConfiguration"]["Rules"]
    assert rules[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    s3.delete_objects(Bucket="data-bucket", Delete={"Objects": [{"Key": "in/a"}, {"Key": "in/b"}]})
    s3.copy_object(Bucket="data-bucket", Key="copy", CopySource={"Bucket": "data-bucket", "Key": "out/d"})
    assert s3.get_object(Bucket="data-bucket", Key="copy")["Body"].read() == b"x"


def test_a_bucket_knows_its_region(aws, refused):
    aws.bucket("far-bucket", region="eu-west-1")
    assert aws.client("s3").get_bucket_location(Bucket="far-bucket")["LocationConstraint"] == "eu-west-1"
    aws.bucket("near-bucket")
    assert aws.client("s3").get_bucket_location(Bucket="near-bucket")["LocationConstraint"] is None
    url = urlsplit(aws.url)
    connection = http.client.HTTPConnection(url.hostname, url.port)
    signed = f"AWS4-HMAC-SHA256 Credential={CUSTOMER}/20260101/us-east-1/s3/aws4_request, Signature=0"
    connection.request("GET", "/far-bucket/key", headers={"Authorization": signed})
    answer = connection.getresponse()
    assert answer.status == 400
    assert answer.headers["x-amz-bucket-region"] == "eu-west-1"
    assert b"AuthorizationHeaderMalformed" in answer.read()
    headers = {"Authorization": signed, "Host": "far-bucket.s3.us-east-1.amazonaws.com"}
    connection.request("GET", "/key", headers=headers)
    answer = connection.getresponse()
    assert answer.status == 301
    assert b"PermanentRedirect" in answer.read()
    connection.close()


def test_virtual_host_style(aws):
    aws.bucket("data-bucket")
    url = urlsplit(aws.url)
    connection = http.client.HTTPConnection(url.hostname, url.port)
    signed = f"AWS4-HMAC-SHA256 Credential={CUSTOMER}/20260101/us-east-1/s3/aws4_request, Signature=0"
    for host in ("data-bucket.s3.amazonaws.com", f"data-bucket.localhost:{url.port}"):
        connection.request("PUT", "/some/key", body=b"virtual", headers={"Authorization": signed, "Host": host})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        assert aws.client("s3").get_object(Bucket="data-bucket", Key="some/key")["Body"].read() == b"virtual"
    connection.close()


def test_accounts_are_kept_apart(aws, refused):
    aws.bucket("data-bucket")
    aws.client("s3").put_object(Bucket="data-bucket", Key="k", Body=b"x")
    other = aws.client("s3", OTHER)
    assert other.list_buckets()["Buckets"] == []
    for method, parameters in (("get_object", {"Key": "k"}), ("list_objects_v2", {}), ("get_bucket_location", {})):
        assert code_of(refused(getattr(other, method), Bucket="data-bucket", **parameters)) == "AccessDenied"
    assert code_of(refused(other.create_bucket, Bucket="data-bucket")) == "BucketAlreadyExists"
    share = (
        '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"210987654321"},'
        '"Action":"s3:GetObject","Resource":"arn:aws:s3:::data-bucket/*"}]}'
    )
    aws.client("s3").put_bucket_policy(Bucket="data-bucket", Policy=share)
    assert other.get_object(Bucket="data-bucket", Key="k")["Body"].read() == b"x"
    assert code_of(refused(other.put_object, Bucket="data-bucket", Key="k", Body=b"y")) == "AccessDenied"


def test_a_damaged_body_is_refused(aws):
    aws.bucket("data-bucket")
    signed = f"AWS4-HMAC-SHA256 Credential={CUSTOMER}/20260101/us-east-1/s3/aws4_request, Signature=0"
    headers = {"Authorization": signed, "Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}
    status, _, body = browser(f"{aws.url}/data-bucket/k", "PUT", headers, b"content")
    assert status == 400
    assert b"BadDigest" in body
    assert "Contents" not in aws.client("s3").list_objects_v2(Bucket="data-bucket")


class TestBrowser:
    ORIGIN = {"Origin": "https://portal.example"}

    @pytest.fixture
    def s3(self, aws):
        aws.bucket("data-bucket")
        aws.client("s3").put_bucket_cors(Bucket="data-bucket", CORSConfiguration=CORS)
        return aws.client("s3", signature_version="s3v4")

    def test_presigned_multipart_upload(self, aws, s3):
        upload = {"Bucket": "data-bucket", "Key": "in/file.csv"}
        upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
        parts = []
        for number, body in ((1, b"a" * (5 << 20)), (2, b"end")):
            url = s3.generate_presigned_url("upload_part", {**upload, "PartNumber": number}, ExpiresIn=600)
            asked = {
                **self.ORIGIN,
                "Access-Control-Request-Method": "PUT",
                "Access-Control-Request-Headers": "content-type",
            }
            status, headers, _ = browser(url, "OPTIONS", asked)
            assert status == 200
            assert headers["Access-Control-Allow-Origin"] == "https://portal.example"
            assert "PUT" in headers["Access-Control-Allow-Methods"]
            assert headers["Access-Control-Allow-Headers"] == "content-type"
            status, headers, _ = browser(url, "PUT", {**self.ORIGIN, "Content-Type": "text/csv"}, body)
            assert status == 200
            assert headers["Access-Control-Allow-Origin"] == "https://portal.example"
            assert headers["Access-Control-Expose-Headers"] == "ETag"
            parts.append({"PartNumber": number, "ETag": headers["ETag"]})
        s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **upload)
        assert s3.head_object(Bucket="data-bucket", Key="in/file.csv")["ContentLength"] == (5 << 20) + 3

    def test_other_origins_and_methods_get_nothing(self, aws, s3):
        url = f"{aws.url}/data-bucket/key"
        for origin, method in (("https://evil.example", "PUT"), ("https://portal.example", "DELETE")):
            status, headers, _ = browser(url, "OPTIONS", {"Origin": origin, "Access-Control-Request-Method": method})
            assert status == 403
            assert headers["Access-Control-Allow-Origin"] is None

    def test_presigned_addresses_expire(self, aws, s3):
        s3.put_object(Bucket="data-bucket", Key="k", Body=b"x")
        url = s3.generate_presigned_url("get_object", {"Bucket": "data-bucket", "Key": "k"}, ExpiresIn=60)
        assert browser(url, "GET")[2] == b"x"
        old = url.replace("X-Amz-Date=20", "X-Amz-Date=19")
        status, _, body = browser(old, "GET")
        assert status == 403
        assert b"Request has expired" in body

    def test_unsigned_requests_are_refused(self, aws, s3):
        s3.put_object(Bucket="data-bucket", Key="k", Body=b"x")
        assert browser(f"{aws.url}/data-bucket/k", "GET")[0] == 403
        assert browser(f"{aws.url}/", "GET")[0] == 403

"""What was made outlasts a restart, also an unkind one."""

import subprocess
import sys

from simulator.aws.front import AwsFront
from simulator.clock import SimClock
from simulator.store import World

WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, "tests/simulator/aws")
from conftest import Aws, serve
from simulator.aws.front import AwsFront
from simulator.clock import SimClock
from simulator.store import World
directory = Path(sys.argv[1])
world = World(directory / "world.sqlite3")
clock = SimClock(world)
front = AwsFront(world, clock, directory)
server, url = serve(front)
aws = Aws(front, url, world, clock)
membership = aws.join()
aws.namespace()
s3 = aws.client("s3")
upload = s3.create_multipart_upload(Bucket="data-bucket", Key="parts")
s3.upload_part(Bucket="data-bucket", Key="parts", UploadId=upload["UploadId"], PartNumber=1, Body=b"p" * 100)
s3.put_object(Bucket="data-bucket", Key="again", Body=b"first")
s3.put_object(Bucket="data-bucket", Key="again", Body=b"second")
with (directory / "moto-large").open("wb") as large:
    large.truncate(200 << 20)
s3.upload_file(str(directory / "moto-large"), "data-bucket", "large")
aws.client("iam").create_user(UserName="the-last-one")
print(membership["id"], upload["UploadId"], flush=True)
sys.stdin.read()
"""


def restarted(directory, script):
    """Run the writer, kill it as soon as its last request is answered, and return what it said."""
    command = [sys.executable, "-c", script, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        line = writer.stdout.readline()
        writer.kill()
    return line.split()


def test_after_a_kill(tmp_path, aws_at):
    membership, upload = restarted(tmp_path, WRITER)
    aws = aws_at(tmp_path)
    s3 = aws.client("s3")
    assert s3.head_object(Bucket="data-bucket", Key="large")["ContentLength"] == 200 << 20
    assert s3.get_object(Bucket="data-bucket", Key="again")["Body"].read() == b"second"
    parts = s3.list_parts(Bucket="data-bucket", Key="parts", UploadId=upload)["Parts"]
    s3.complete_multipart_upload(
        Bucket="data-bucket",
        Key="parts",
        UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": parts[0]["ETag"]}]},
    )
    assert s3.get_object(Bucket="data-bucket", Key="parts")["Body"].read() == b"p" * 100
    assert aws.client("glue").get_table(DatabaseName="amc", Name="identity")["Table"]["Name"] == "identity"
    assert aws.client("iam").get_role(RoleName="amc-er-source")["Role"]["Path"] == "/service-role/"
    assert aws.client("iam").get_user(UserName="the-last-one")["User"]["UserName"] == "the-last-one"
    assert aws.client("cleanrooms").get_membership(membershipIdentifier=membership)["membership"]["status"] == "ACTIVE"
    arn = aws.client("entityresolution").get_id_namespace(idNamespaceName="mynamespace")["idNamespaceArn"]
    made = aws.client("cleanrooms").create_id_namespace_association(
        membershipIdentifier=membership,
        name="identity",
        inputReferenceConfig={"inputReferenceArn": arn, "manageResourcePolicies": True},
    )
    assert made["idNamespaceAssociation"]["name"] == "identity"


def test_nothing_is_left_behind(tmp_path):
    world = World(tmp_path / "world.sqlite3")
    front = AwsFront(world, SimClock(world), tmp_path)
    body = tmp_path / "aws" / "objects" / "orphan"
    body.write_bytes(b"left by a killed process")
    front.close()
    again = AwsFront(world, SimClock(world), tmp_path)
    assert not body.exists()
    again.close()
    world.close()
    assert list((tmp_path / "aws" / "objects").iterdir()) == []


def test_two_worlds_in_one_process(tmp_path, aws, aws_at):
    aws.bucket("first-bucket")
    other = aws_at(tmp_path)
    other.bucket("first-bucket", "210987654321")
    other.client("s3", "210987654321").put_object(Bucket="first-bucket", Key="k", Body=b"other")
    aws.client("s3").put_object(Bucket="first-bucket", Key="k", Body=b"mine")
    assert other.client("s3", "210987654321").get_object(Bucket="first-bucket", Key="k")["Body"].read() == b"other"
    assert aws.client("s3").get_object(Bucket="first-bucket", Key="k")["Body"].read() == b"mine"
    assert len(list((tmp_path / "aws" / "objects").iterdir())) == 1

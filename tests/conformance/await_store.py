"""Waits at most a minute until the store at SIMULATOR_S3_ENDPOINT accepts an object."""

import os
import sys
import time

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

store = boto3.client(
    "s3",
    endpoint_url=os.environ["SIMULATOR_S3_ENDPOINT"],
    aws_access_key_id=os.environ["SIMULATOR_S3_ACCESS_KEY"],
    aws_secret_access_key=os.environ["SIMULATOR_S3_SECRET_KEY"],
    region_name="us-east-1",
    config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, read_timeout=5),
)

deadline = time.monotonic() + 60
while True:
    try:
        if not store.list_buckets()["Buckets"]:
            store.create_bucket(Bucket="ready")
        store.put_object(Bucket="ready", Key="ready", Body=b"ready")
        break
    except (BotoCoreError, ClientError) as error:
        if time.monotonic() > deadline:
            sys.exit(f"the store takes no object: {error}")
        time.sleep(0.2)

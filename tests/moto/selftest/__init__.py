"""Tests of the mended EC2 endpoint through boto3: python -m unittest discover -s selftest -t ."""

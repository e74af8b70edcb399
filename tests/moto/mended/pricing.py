"""The price list service, which moto does not have: GetProducts for EC2's on-demand prices, in pages.

Prices are made up: a hundredth of a dollar for each vCPU and a thousandth for each GiB, so that a test can tell them from
any real list.
https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_pricing_GetProducts.html
"""

from __future__ import annotations

import json
from typing import Any

from moto.ec2.models.instance_types import INSTANCE_TYPES

ACTION = "GetProducts"


def price(kind: str) -> str:
    """The price of an hour."""
    facts = INSTANCE_TYPES[kind]
    return f"{facts['VCpuInfo']['DefaultVCpus'] * 0.01 + facts['MemoryInfo']['SizeInMiB'] / 1024 * 0.001:.10f}"


def _product(kind: str, region: str) -> str:
    dimension = {"unit": "Hrs", "pricePerUnit": {"USD": price(kind)}}
    attributes = {"instanceType": kind, "regionCode": region, "operatingSystem": "Linux", "tenancy": "Shared"}
    return json.dumps(
        {
            "product": {"productFamily": "Compute Instance", "attributes": attributes},
            "serviceCode": "AmazonEC2",
            "terms": {"OnDemand": {f"{kind}.T": {"priceDimensions": {f"{kind}.T.D": dimension}}}},
        }
    )


def answer(body: bytes) -> tuple[int, dict[str, Any]]:
    """Status and reply for a request."""
    asked = json.loads(body)
    filters = {each["Field"]: each["Value"] for each in asked.get("Filters", [])}
    needed = {"regionCode", "operatingSystem", "tenancy", "preInstalledSw", "capacitystatus"}
    most = asked.get("MaxResults", 100)
    if asked.get("ServiceCode") != "AmazonEC2" or set(filters) != needed or not 1 <= most <= 100:
        return 400, {"__type": "InvalidParameterException", "Message": "The request is invalid."}
    kinds = sorted(INSTANCE_TYPES)
    start = int(asked.get("NextToken", "0"))
    reply: dict[str, Any] = {
        "FormatVersion": "aws_v1",
        "PriceList": [_product(kind, filters["regionCode"]) for kind in kinds[start : start + most]],
    }
    if start + most < len(kinds):
        reply["NextToken"] = str(start + most)
    return 200, reply

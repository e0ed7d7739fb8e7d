"""Reads manifests, holds each to the schema of its kind, and prints them as JSON.

Kinds of Kubernetes itself have a schema in the package kubernetes-validate; those of the Gateway API have none there.
"""

import json
import sys

import kubernetes_validate
import yaml

VERSION = "1.34"
WITHOUT_SCHEMA = {"Gateway", "TLSRoute"}

documents = []
for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as file:
        for document in yaml.safe_load_all(file):
            if document["kind"] not in WITHOUT_SCHEMA:
                kubernetes_validate.validate(document, VERSION, strict=True)
            documents.append(document)
json.dump(documents, sys.stdout)

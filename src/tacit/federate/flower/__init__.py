"""Federations on Flower: the same round loop, with downloads carried by a Flower grid. Flower itself is imported when it is first used."""

from tacit.federate.flower.apps import client_app, server_app
from tacit.federate.flower.engine import Deadlines, FlowerEngine
from tacit.federate.flower.member import Member
from tacit.federate.flower.privacy import LocalPrivacy, check_private, local_privacy
from tacit.federate.flower.records import Transport, download_record, read_download, read_upload, upload_record
from tacit.federate.flower.simulation import Simulation
from tacit.federate.flower.strategy import make_strategy

__all__ = [
    "Deadlines",
    "FlowerEngine",
    "LocalPrivacy",
    "Member",
    "Simulation",
    "Transport",
    "check_private",
    "client_app",
    "download_record",
    "local_privacy",
    "make_strategy",
    "read_download",
    "read_upload",
    "server_app",
    "upload_record",
]

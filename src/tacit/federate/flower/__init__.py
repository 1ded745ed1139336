"""Federations on Flower: the same round loop, with letters carried by a Flower grid. Flower itself is imported when it is first used."""

from tacit.federate.flower.apps import client_app, server_app
from tacit.federate.flower.engine import Deadlines, FlowerEngine
from tacit.federate.flower.member import Member
from tacit.federate.flower.privacy import LocalPrivacy, check_private, local_privacy
from tacit.federate.flower.records import Transport, answer_record, letter_record, read_answer, read_letter
from tacit.federate.flower.simulation import Simulation
from tacit.federate.flower.strategy import make_strategy

__all__ = [
    "Deadlines",
    "FlowerEngine",
    "LocalPrivacy",
    "Member",
    "Simulation",
    "Transport",
    "answer_record",
    "check_private",
    "client_app",
    "letter_record",
    "local_privacy",
    "make_strategy",
    "read_answer",
    "read_letter",
    "server_app",
]

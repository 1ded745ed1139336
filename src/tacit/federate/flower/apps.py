"""Apps: the two sides of a federation as Flower starts them."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from tacit.core.errors import import_extra
from tacit.federate.checks import FederationError
from tacit.federate.flower.member import Member
from tacit.federate.flower.privacy import check_mods, check_plain, check_private, private, withheld
from tacit.federate.flower.records import read_download, upload_record
from tacit.federate.messages import Download, Upload

if TYPE_CHECKING:
    from flwr.app import Context, Message
    from flwr.clientapp import ClientApp
    from flwr.serverapp import Grid, ServerApp

__all__ = ["CLIENT", "DATA", "client_app", "server_app"]

T = TypeVar("T")

log = logging.getLogger("tacit")
CLIENT = "tacit.client"
"""Where a node says which client it is, in the record ``config`` of its answer to a query."""
DATA = "tacit.data"
"""Where the query says whose images are learned from, in its record ``config``: ``sites`` or ``dealt``."""


def client_app(
    member: Callable[[Context], Member],
    *,
    mods: Sequence[Any] = (),
    number: Callable[[Context, Mapping[str, Any]], int] | None = None,
    discreet: bool = True,
) -> ClientApp:
    """Return an app that answers downloads.

    A site that adds noise to its update (`LocalDpMod` among the modifiers, or ``dp-epsilon`` in its config) tells no loss, does not say how
    many images it has, and tells nothing of tests; with algorithms of which the noise would not cover all, it answers with the
    reason alone.

    What goes wrong with a site's own images or network stays in the log of the site, since an error may name files, people or classes: the
    server is told the kind of error alone. That what was asked for does not go together is told in full, since it is of the options.

    Args:
        member: Gives the client that this node is; called for every download, so it should remember what takes long.
        mods: Flower's modifiers, for training alone: an answer that only measures holds nothing for them.
        number: Says which client this node is, from its context and the config of the server's query, or raises `InputError` where it can't
            be used; it should load nothing, since the server waits for it. Not given: the member is asked.
        discreet: Whether errors stay at the site. False is for trials in which server and sites are one person's.
    """
    check_mods(mods)
    flower = import_extra("flwr.app", "federate", "Flower")
    app: ClientApp = import_extra("flwr.clientapp", "federate", "Flower").ClientApp()

    def train(message: Message, context: Context) -> Message:
        own = _here(context)
        if private(mods, context):
            check_private(own.client.kind)
            return _answered(message, lambda download: withheld(own.train(download), download))
        check_plain()
        return _answered(message, own.train)

    def evaluate(message: Message, context: Context) -> Message:
        own = _here(context)
        return _answered(message, functools.partial(_untested, own) if private(mods, context) else own.measure)

    def query(message: Message, context: Context) -> Message:
        found = _here(context).number if number is None else number(context, _config(message))
        content = flower.RecordDict({"config": flower.ConfigRecord({CLIENT: found})})
        reply: Message = flower.Message(content, reply_to=message)
        return reply

    def _answered(message: Message, work: Callable[[Download], Upload]) -> Message:
        download = read_download(message.content)
        content = upload_record(_at_home(lambda: work(download)), _config(message)["tacit.transport"])
        reply: Message = flower.Message(content, reply_to=message)
        return reply

    def _here(context: Context) -> Member:
        if number is not None:
            number(context, {})  # what it has against the node's config is told in full
        return _at_home(lambda: member(context))

    def _at_home(work: Callable[[], T]) -> T:
        try:
            return work()
        except Exception as error:  # anything can be wrong with a site's images
            if not discreet:
                raise
            log.exception("this site can't do its part; the server is told the kind of error alone")
            kind = type(error).__name__
        raise FederationError(f"{kind} at this site: what it says, which may name images, is in the site's own log")

    def _config(message: Message) -> Mapping[str, Any]:
        return message.content.config_records["config"]

    def _untested(own: Member, download: Download) -> Upload:
        own.store(download)
        return Upload(examples=1)

    app.train(mods=list(mods))(train)
    app.evaluate()(evaluate)
    app.query()(query)
    return app


def server_app(main: Callable[[Grid, Context], None]) -> ServerApp:
    """Return an app that calls `main` with the grid, over which `FlowerEngine` carries downloads, and the run's context."""
    app: ServerApp = import_extra("flwr.serverapp", "federate", "Flower").ServerApp()
    app.main()(main)
    return app

"""Differential privacy and secure aggregation: what goes together does, and what can't says why."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("flwr")

from flwr.app import Array, Context, RecordDict
from flwr.clientapp.mod import LocalDpMod, adaptiveclipping_mod, fixedclipping_mod
from flwr.serverapp.strategy import (
    DifferentialPrivacyClientSideAdaptiveClipping,
    DifferentialPrivacyClientSideFixedClipping,
    DifferentialPrivacyServerSideAdaptiveClipping,
    DifferentialPrivacyServerSideFixedClipping,
)

from tacit.core.device import Runtime
from tacit.core.errors import InputError
from tacit.core.network import Network
from tacit.data import ImageSet
from tacit.distill import Training
from tacit.federate import (
    DENSE,
    Algorithm,
    Client,
    FedAvg,
    FedDF,
    FedDistill,
    FedDistillPlus,
    FedEnsemble,
    FederationError,
    FedFTG,
    FedGen,
    FedProx,
    Server,
    Shelf,
    Upload,
)
from tacit.federate.flower import FlowerEngine, LocalPrivacy, Member, check_private, client_app, make_strategy
from tacit.federate.flower.privacy import check_central, check_mods, gaussian_delta, private
from tacit.federate.flower.records import tensors_of
from tacit.synthesize import Gaussian
from toyfed import SPEC, flat, plan, sites
from toyflower import QUICK, InProcessGrid, broken, members, over_grid

CLIP = 0.05
MEAN = FedAvg(bn="local", average="equal")
PRIVATE = [FedAvg(bn="local"), FedGen(steps=3, generated=1, latent=1, counts="withheld", bn="local")]


def mod(epsilon: float) -> LocalDpMod:
    return LocalDpMod(clipping_norm=CLIP, sensitivity=CLIP, epsilon=epsilon, delta=1e-5)


class OwnMod(LocalDpMod):
    """A user's own."""


def around(message: Any, context: Any, call_next: Any) -> Any:
    """A modifier that adds noise by another."""
    return mod(10.0)(message, context, call_next)


def bare() -> Network:
    torch.manual_seed(0)
    return Network(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 16), torch.nn.ReLU(), torch.nn.Linear(16, 10)), SPEC)


def moved(server: Any, before: dict[str, torch.Tensor]) -> float:
    parameters = dict(server.central.network.model.named_parameters())
    return float(torch.cat([(parameters[key].detach() - value).flatten() for key, value in before.items()]).norm())


@pytest.mark.parametrize("algorithm", PRIVATE, ids=lambda one: one.name)
def test_a_site_clips_what_it_learned_and_adds_noise(algorithm: Algorithm, runtime: Runtime, tmp_path: Path) -> None:
    made = plan(algorithm, runtime, rounds=3, steps=10, every=0, networks=None)
    check_private(made.kind(0))
    steps: dict[float, list[float]] = {1e9: [], 50.0: []}
    for epsilon, norms in steps.items():
        running = over_grid(made, tmp_path / str(epsilon), mods=[mod(epsilon)], transport="bytes")
        for _ in range(2):  # in the second round there is a generator to send
            before = {key: value.detach().clone() for key, value in running.central.network.model.named_parameters()}
            done = running.round()
            assert (done.replies, dict(done.dropped)) == (4, {})
            norms.append(moved(running, before))
    count = sum(parameter.numel() for parameter in made.networks[0].parameters())
    noise = CLIP * (2 * torch.tensor(1.25e5).log()).sqrt() / 50 * (count / 4) ** 0.5  # of a mean of four, equally weighted or nearly so
    assert all(0.3 * CLIP < norm <= CLIP * 1.001 for norm in steps[1e9])
    assert all(0.8 * float(noise) < norm < 1.6 * float(noise) + CLIP for norm in steps[50.0])


PAINT = Gaussian(batch=16, warmup=1)
LISTED: list[Algorithm] = [
    FedAvg(),
    FedProx(),
    FedEnsemble(),
    FedDF(steps=2, batch=16, method=PAINT),
    *(FedGen(steps=2, **told) for told in ({"counts": "withheld"}, {"count_noise": 2.0})),
    *(FedFTG(steps=1, width=4, batch=8, **told) for told in ({"counts": "withheld"}, {"count_noise": 2.0})),
    *(DENSE(method=PAINT, training=Training(steps=2, batch=8), **told) for told in ({"counts": "withheld"}, {"count_noise": 2.0})),
]
"""What the guide says goes with a site's own noise."""


@pytest.mark.parametrize("algorithm", LISTED, ids=lambda one: f"{one.name}-{getattr(one, 'counts', '')}")
def test_what_goes_with_a_sites_own_noise_does_on_a_network_without_batch_norm(
    algorithm: Algorithm, runtime: Runtime, tmp_path: Path
) -> None:
    made = plan(algorithm, runtime, steps=2, every=0, networks=[bare()])
    running = over_grid(made, tmp_path, mods=[mod(50.0)], transport="bytes")
    for _ in range(1 if algorithm.rounds == 1 else 2):  # in the second round there is a generator to send
        done = running.round()
        assert (done.replies, done.learned, dict(done.dropped)) == (4, True, {})


def told(running: Server) -> dict[str, Any]:
    """Return what the server is told beside weights and counts, in a round and in a test."""
    downloads = running.ask()
    trained, measured = running.engine.train(downloads), running.engine.measure(running.questions(sorted(downloads)))
    found = [
        {client: (reply.examples, dict(reply.metrics)) for client, reply in came.items() if isinstance(reply, Upload)}
        for came in (trained, measured)
    ]
    return dict(zip(("trained", "measured"), found, strict=True))


def test_a_site_that_adds_noise_tells_nothing_that_gets_none(runtime: Runtime, tmp_path: Path) -> None:
    made = plan(PRIVATE[0], runtime, steps=10, every=1)
    plain = told(over_grid(made, tmp_path / "plain", transport="bytes"))
    assert len({examples for examples, _ in plain["trained"].values()}) == 4
    assert all("accuracy" in metrics for _, metrics in plain["measured"].values())
    noise = OwnMod(clipping_norm=CLIP, sensitivity=CLIP, epsilon=10.0, delta=1e-5)
    running = over_grid(made, tmp_path / "private", mods=[noise], transport="bytes")
    assert told(running) == {"trained": dict.fromkeys(range(4), (320, {})), "measured": dict.fromkeys(range(4), (1, {}))}
    done = running.round()
    assert (done.replies, done.loss, dict(done.own), dict(done.unmeasured)) == (4, None, {}, {})


def test_a_site_whose_config_asks_for_noise_tells_nothing_that_gets_none() -> None:
    context = Context(7, 1, {"dp-clipping": 1.0, "dp-epsilon": 5, "dp-delta": 1e-5}, RecordDict(), {})
    assert private([], context)
    assert not private([fixedclipping_mod], Context(7, 1, {"client": 1}, RecordDict(), {}))


def test_tensors_in_a_record_of_their_own_are_not_what_the_modifiers_take_from_the_first_round_on(runtime: Runtime, tmp_path: Path) -> None:
    done = over_grid(plan(PRIVATE[1], runtime, steps=2, every=0), tmp_path, mods=[mod(10.0)]).round()
    assert (sorted(done.dropped), done.learned) == ([0, 1, 2, 3], False)
    assert "LocalDpMod expects exactly one ArrayRecord" in done.dropped[0]


@pytest.mark.parametrize("made", [LocalDpMod, OwnMod])
@pytest.mark.parametrize(
    ("algorithm", "why"),
    [
        (FedGen(bn="local"), "privacy: FedGen tells exact label counts"),
        (FedDistillPlus(bn="local"), "privacy: FedDistillPlus sends mean logits"),
        (FedEnsemble(), "take a network without batch norm"),
    ],
    ids=lambda one: getattr(one, "name", ""),
)
def test_a_site_refuses_to_send_what_its_modifier_would_leave_exact(
    algorithm: Algorithm, why: str, made: type[LocalDpMod], runtime: Runtime, tmp_path: Path
) -> None:
    noise = made(clipping_norm=CLIP, sensitivity=CLIP, epsilon=10.0, delta=1e-5)
    done = over_grid(plan(algorithm, runtime, steps=2), tmp_path, mods=[noise], transport="bytes").round()
    assert sorted(done.dropped) == [0, 1, 2, 3]
    assert all(why in said for said in done.dropped.values())


def test_noise_that_another_modifier_adds_is_refused_since_nobody_knows_what_to_withhold(runtime: Runtime, tmp_path: Path) -> None:
    done = over_grid(plan(PRIVATE[0], runtime, steps=2), tmp_path, mods=[around], transport="bytes").round()
    assert sorted(done.dropped) == [0, 1, 2, 3]
    assert "LocalDpMod is called by another modifier" in done.dropped[0]


@pytest.mark.parametrize(
    ("algorithm", "why"),
    [
        (FedDistill(), "FedDistill sends mean logits"),
        (FedDistillPlus(), "FedDistillPlus sends mean logits"),
        (FedGen(bn="local"), "FedGen tells exact label counts"),
        (FedGen(count_noise=2.0), "can make the running statistics .* negative"),
        (FedAvg(), "can make the running statistics .* negative"),
        (FedDF(), "take a network without batch norm"),
        (DENSE(count_noise=2.0), "take a network without batch norm"),
    ],
)
def test_what_noise_on_the_weights_would_not_cover_is_refused(algorithm: Algorithm, why: str, runtime: Runtime) -> None:
    with pytest.raises(InputError, match=why):
        check_private(plan(algorithm, runtime).kind(0))


def test_parameters_that_the_modifiers_pass_over_are_refused() -> None:
    for value, why in ((torch.tensor(1.0), "scale is a single number"), (torch.ones(2, dtype=torch.bfloat16), "scale is torch.bfloat16")):
        with pytest.raises(InputError, match=why):
            check_central(MEAN, {"scale": value}, set())


def test_the_server_adds_noise_to_the_mean_of_clipped_updates(runtime: Runtime, tmp_path: Path) -> None:
    norms = []
    for noise in (1e-9, 1.0):
        made = plan(MEAN, runtime, steps=10)
        strategy = make_strategy(made, transport="bytes")
        grid = InProcessGrid(members(made, sites(), tmp_path / str(noise), mods=[fixedclipping_mod]), range(4))
        wrapped = DifferentialPrivacyClientSideFixedClipping(strategy, noise_multiplier=noise, clipping_norm=CLIP, num_sampled_clients=4)
        before = flat(tensors_of(strategy.initial_arrays))
        result = wrapped.start(grid, strategy.initial_arrays, num_rounds=1)
        assert result.train_metrics_clientapp[1]["replies"] == 4
        norms.append(float((flat(tensors_of(result.arrays)) - before).norm()))
    assert 0.3 * CLIP < norms[0] <= CLIP * 1.001
    assert norms[1] == pytest.approx(CLIP / 4 * len(before) ** 0.5, rel=0.2)


class Subclass(DifferentialPrivacyServerSideFixedClipping):
    """A user's own."""


WRAPPERS: list[tuple[Any, dict[str, float], list[Any]]] = [
    (DifferentialPrivacyClientSideFixedClipping, {"noise_multiplier": 1.0, "clipping_norm": CLIP}, [fixedclipping_mod]),
    (DifferentialPrivacyServerSideFixedClipping, {"noise_multiplier": 1.0, "clipping_norm": CLIP}, []),
    (DifferentialPrivacyClientSideAdaptiveClipping, {"noise_multiplier": 0.1}, [adaptiveclipping_mod]),
    (DifferentialPrivacyServerSideAdaptiveClipping, {"noise_multiplier": 0.1}, []),
    (Subclass, {"noise_multiplier": 1.0, "clipping_norm": CLIP}, []),
]


@pytest.mark.parametrize(("wrapper", "fields", "mods"), WRAPPERS)
def test_noise_on_the_mean_goes_with_averages_and_is_refused_where_the_server_learns_from_each_clients_weights(
    wrapper: Any, fields: dict[str, float], mods: list[Any], runtime: Runtime, tmp_path: Path
) -> None:
    for algorithm in (MEAN, PRIVATE[1], FedEnsemble(), FedDistillPlus(bn="local")):
        made = plan(algorithm, runtime, steps=2)
        strategy = make_strategy(made, transport="bytes")
        grid = InProcessGrid(members(made, sites(), tmp_path / algorithm.name, mods=mods), range(4))
        wrapped = wrapper(strategy, num_sampled_clients=4, **fields)
        if algorithm is MEAN:
            assert wrapped.start(grid, strategy.initial_arrays, num_rounds=1).train_metrics_clientapp[1]["replies"] == 4
            continue
        with pytest.raises(InputError, match="would be outside the accounting"):
            wrapped.start(grid, strategy.initial_arrays, num_rounds=1)


def test_a_client_with_many_images_moves_a_noised_mean_no_more_than_one_with_few(runtime: Runtime, tmp_path: Path) -> None:
    made, strangers = plan(MEAN, runtime, steps=10), sites()
    few = [replace(site, train=site.train.part(torch.arange(len(site.train) if site.number == 0 else 4))) for site in strangers]
    train = few[0].train
    other = replace(few[0], train=type(train)(255 - train.images, (train.labels + 5) % 10))
    means = []
    for number, those in enumerate((few, [other, *few[1:]])):
        strategy = make_strategy(made, transport="bytes")
        grid = InProcessGrid(members(made, those, tmp_path / str(number), mods=[fixedclipping_mod]), range(4))
        wrapped = DifferentialPrivacyClientSideFixedClipping(strategy, noise_multiplier=1e-9, clipping_norm=CLIP, num_sampled_clients=4)
        means.append(flat(tensors_of(wrapped.start(grid, strategy.initial_arrays, num_rounds=1).arrays)))
    assert 0.2 * CLIP / 4 < float((means[0] - means[1]).norm()) <= 2 * CLIP / 4 * 1.001


def test_a_mean_by_numbers_of_images_is_refused_where_noise_is_added_to_it(runtime: Runtime, tmp_path: Path) -> None:
    made = plan(FedAvg(bn="local"), runtime, steps=2)
    strategy = make_strategy(made, transport="bytes")
    wrapped = DifferentialPrivacyServerSideFixedClipping(strategy, noise_multiplier=1.0, clipping_norm=CLIP, num_sampled_clients=4)
    with pytest.raises(InputError, match="a mean in which all clients count alike"):
        wrapped.start(InProcessGrid(members(made, sites(), tmp_path), range(4)), strategy.initial_arrays, num_rounds=1)


@pytest.mark.parametrize(("sampled", "silent"), [(4, 1), (5, 0)])
def test_a_noised_mean_of_fewer_answers_than_the_noise_is_for_is_not_learned_from(
    sampled: int, silent: int, runtime: Runtime, tmp_path: Path
) -> None:
    made = plan(MEAN, runtime, steps=2)
    strategy = make_strategy(made, transport="bytes")

    def hook(client: int, message: Any) -> Any:
        return None if client < silent and message.metadata.message_type == "train" else message

    grid = InProcessGrid(members(made, sites(), tmp_path, mods=[fixedclipping_mod]), range(4), hook)
    wrapped = DifferentialPrivacyClientSideFixedClipping(strategy, noise_multiplier=1.0, clipping_norm=CLIP, num_sampled_clients=sampled)
    result = wrapped.start(grid, strategy.initial_arrays, num_rounds=1)
    assert result.train_metrics_clientapp[1]["dropped"] == 4
    assert not strategy.server.learned


@pytest.mark.parametrize(("wrapper", "fields", "mods"), WRAPPERS)
def test_a_round_that_a_wrapper_gave_up_counts_as_one_that_failed(
    wrapper: Any, fields: dict[str, float], mods: list[Any], runtime: Runtime, tmp_path: Path
) -> None:
    made = plan(MEAN, runtime, steps=1, every=0, active=2, patience=20)
    strategy = make_strategy(made, transport="bytes")
    grid = InProcessGrid(members(made, sites(), tmp_path, mods=[broken, *mods]), range(4))
    wrapper(strategy, num_sampled_clients=2, **fields).start(grid, strategy.initial_arrays, num_rounds=6)
    drawn = [client for client, kind in grid.asked if kind == "train"]
    assert len({tuple(sorted(drawn[place : place + 2])) for place in range(0, 12, 2)}) > 2  # a round that failed is not asked again
    assert 0 < strategy.server.learned < 6
    made = plan(MEAN, runtime, steps=1, every=0, patience=2)
    strategy = make_strategy(made, transport="bytes")
    grid = InProcessGrid(members(made, sites(), tmp_path / "all", mods=[broken, *mods]), range(4))
    with pytest.raises(FederationError, match=r"in 2 rounds in a row .* a wrapper of the strategy gave up the round"):
        wrapper(strategy, num_sampled_clients=4, **fields).start(grid, strategy.initial_arrays, num_rounds=6)


@pytest.mark.parametrize("shape", [(1,), (7,)])
@pytest.mark.parametrize(("wrapper", "fields", "mods"), WRAPPERS)
def test_an_answer_of_another_shape_is_dropped_before_a_wrapper_clips_it(
    wrapper: Any, fields: dict[str, float], mods: list[Any], shape: tuple[int, ...], runtime: Runtime, tmp_path: Path
) -> None:
    def odd(message: Any, context: Any, call_next: Any) -> Any:
        reply = call_next(message, context)
        if context.node_config["partition-id"] == 1:
            (arrays,) = reply.content.array_records.values()
            arrays["classifier.bias"] = Array(np.ones(shape, dtype=np.float32))
        return reply

    made = plan(MEAN, runtime, steps=1, every=0)
    strategy = make_strategy(made, transport="bytes")
    grid = InProcessGrid(members(made, sites(), tmp_path, mods=[odd, *mods]), range(4))
    wrapped = wrapper(strategy, num_sampled_clients=4, **fields)
    before = flat(tensors_of(strategy.initial_arrays))
    result = wrapped.start(strategy.checked(grid), strategy.initial_arrays, num_rounds=1)
    assert result.train_metrics_clientapp[1]["dropped"] == 4  # one of them for its shape, and with it the round
    assert torch.equal(flat(strategy.server.central.network.model.state_dict()), flat(made.networks[0].model.state_dict()))
    assert torch.equal(flat(tensors_of(strategy.initial_arrays)), before)


def test_a_site_that_does_not_tell_says_no_more_images_than_any_may(runtime: Runtime, tmp_path: Path) -> None:
    made = plan(PRIVATE[0], runtime, steps=10, every=0, images=200)
    small = [replace(site, train=site.train.part(torch.arange(50))) for site in sites()]
    grid = InProcessGrid(members(made, small, tmp_path, mods=[OwnMod(CLIP, CLIP, 10.0, 1e-5)]), range(4))
    running = made.server(FlowerEngine(grid, 4, deadlines=QUICK, transport="bytes"))
    assert told(running)["trained"] == dict.fromkeys(range(4), (200, {}))
    assert running.round().replies == 4


def test_what_is_wrong_with_a_sites_images_stays_in_its_own_log(runtime: Runtime, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made, mine = plan(FedAvg(), runtime, steps=1), sites()

    def member(context: Context) -> Member:
        number = int(context.node_config["partition-id"])
        if number == 1:
            raise InputError("image 0 can't be read: /scans/benign/Jane_Doe_1961.png")
        site = mine[number]
        if number == 2:
            site = replace(site, train=Unreadable(site.train.images, site.train.labels))
        return Member(Client(site, made.kind(number), seed=0), Shelf(tmp_path / str(number)))

    for discreet in (True, False):
        grid = InProcessGrid(
            client_app(member, number=lambda context, _: int(context.node_config["partition-id"]), discreet=discreet), range(4)
        )
        dropped = made.server(FlowerEngine(grid, 4, deadlines=QUICK)).round().dropped
        assert sorted(dropped) == [1, 2]
        assert all(("Jane_Doe" in why) is not discreet for why in dropped.values())
        assert ("Jane_Doe" in caplog.text) is discreet
        if discreet:
            assert dropped[1].endswith("InputError at this site: what it says, which may name images, is in the site's own log")
        caplog.clear()


class Unreadable(ImageSet):
    """Images that can't be read any more."""

    def batch(self, index: torch.Tensor) -> Any:
        raise OSError("/scans/benign/Jane_Doe_1961.png: input/output error")


def test_secure_aggregation_is_refused_with_its_reason() -> None:
    from flwr.client.mod import secaggplus_mod

    with pytest.raises(InputError, match="secaggplus_mod hides each client's weights from the server: FedGen"):
        client_app(lambda context: None, mods=[secaggplus_mod])  # type: ignore[arg-type,return-value]


def test_a_site_says_in_its_config_what_it_asks_for() -> None:
    assert LocalPrivacy.of({"client": 1}) is None
    asked = LocalPrivacy.of({"dp-clipping": 1.0, "dp-epsilon": 5, "dp-delta": 1e-5})
    assert asked == LocalPrivacy(clipping=1.0, epsilon=5.0, delta=1e-5, sensitivity=2.0)
    for config in (
        {"dp-epsilon": 5.0},
        {"dp-clipping": "a", "dp-epsilon": 1, "dp-delta": 0.1},
        {"dp-clipping": 1, "dp-epsilon": 0, "dp-delta": 0.1},
    ):
        with pytest.raises(InputError, match="privacy: expected"):
            LocalPrivacy.of(config)
    for wrong in ("dp_epsilon", "DP-epsilon", "dp-sensitivty"):
        with pytest.raises(InputError, match=f"node-config has no option '{wrong}'; did you mean 'dp-"):
            LocalPrivacy.of({"dp-clipping": 1.0, "dp-epsilon": 5, "dp-delta": 1e-5, wrong: 1.0})
        with pytest.raises(InputError, match="node-config has no option"):
            private([], Context(7, 1, {"client": 1, wrong: 8.0}, RecordDict(), {}))


@pytest.mark.parametrize(("epsilon", "scale"), [(0.1, 2.0), (1.0, 4.845), (8.0, 0.6), (10.0, 0.4845), (50.0, 0.0969)])
def test_the_delta_of_gaussian_noise_is_where_one_density_is_more_than_the_other_allows(epsilon: float, scale: float) -> None:
    points = np.linspace(-12 * scale - 1, 12 * scale + 2, 2_000_001)
    one, two = (np.exp(-((points - place) ** 2) / (2 * scale**2)) / (scale * math.sqrt(2 * math.pi)) for place in (1.0, 0.0))
    more = np.clip(one - math.exp(epsilon) * two, 0, None)
    assert gaussian_delta(epsilon, scale) == pytest.approx(float(np.trapezoid(more, points)), rel=1e-3)


def test_noise_that_gives_less_than_it_claims_is_refused_with_what_would_be_enough() -> None:
    said = {"dp-clipping": 1.5, "dp-delta": 1e-5}
    LocalPrivacy.of({**said, "dp-epsilon": 8.0})
    for more in ({"dp-epsilon": 10.0}, {"dp-epsilon": 30.0}, {"dp-epsilon": 8.0, "dp-sensitivity": 1.5}):
        with pytest.raises(InputError, match=r"gives delta .* and not 1e-05, since two updates clipped to 1.5 can be 3 apart") as caught:
            LocalPrivacy.of({**said, **more})
        enough = float(re.findall(r"dp-sensitivity=([\d.e+]+) or more", str(caught.value))[0])
        asked = LocalPrivacy.of({**said, **more, "dp-sensitivity": enough})
        assert asked is not None
        sigma = asked.sensitivity * math.sqrt(2 * math.log(1.25 / asked.delta)) / asked.epsilon
        assert 0.5 * asked.delta < gaussian_delta(asked.epsilon, sigma / 3.0) <= asked.delta
        with pytest.raises(InputError, match="gives delta"):
            LocalPrivacy.of({**said, **more, "dp-sensitivity": 0.98 * enough})


def test_a_modifier_that_claims_too_much_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    check_mods([LocalDpMod(clipping_norm=1.0, sensitivity=2.0, epsilon=5.0, delta=1e-5)])
    assert not caplog.records
    check_mods([mod(10.0)])
    assert "LocalDpMod: privacy: noise for epsilon 10 and sensitivity 0.05, as Flower scales it, gives delta" in caplog.text

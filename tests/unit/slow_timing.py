"""docs/hardware.md, sections 8 and 9, cycle by cycle and event by event; slow and plain.

Written from the text, without `tensorlib.timing`, which it checks.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence

from slow_events import banks_that_keep, enabled_pes, nest, valid_outputs

from tensorlib.design import Design
from tensorlib.program import TENSORS, Command, Config, End, Exec, Lanes, Load, Store

FIFO = 64
QUEUE = 4


class Stuck(Exception):
    """Nothing has happened for very long."""


class SlowMachine:
    """One accelerator; `run` returns latency and counters by name."""

    def __init__(self, design: Design, commands: Sequence[Command]) -> None:
        self.design = design
        self.count: Counter[str] = Counter()
        self.events: defaultdict[int, list[Callable[[], None]]] = defaultdict(list)
        self.cycle = 0
        self.latency = 0
        self.last_activity = 0
        # front
        self.incoming = self.stream_words(commands)
        self.word_left = True
        self.beats = 0
        self.arrived: list[Command | None] = []  # the two-entry queue
        # decoder
        self.decoder: Iterator[bool] | None = None
        self.configuring = False
        self.ended = False
        self.config: Config | None = None
        self.lanes: Lanes | None = None
        # tokens
        self.full = {tensor: [False, False] for tensor in TENSORS}
        self.loading: set[tuple[str, int]] = set()
        self.complete = [False, False]
        # exec unit
        self.execs: list[tuple[int, Exec]] = []
        self.exec_busy = False
        self.nest: Iterator[bool] | None = None
        # store unit
        self.stores: list[tuple[int, Store]] = []
        self.store_busy = False
        self.batches: Iterator[bool] | None = None
        self.used = 0
        self.ready_words = 0
        self.sending = False

    def stream_words(self, commands: Sequence[Command]) -> Iterator[Command | None]:
        """The command for its first word, None for all other words."""
        for command in commands:
            more = len(command.words()) - 1
            if isinstance(command, Load):
                more += command.data_words
            yield command
            yield from [None] * more

    def at(self, cycle: int, action: Callable[[], None]) -> None:
        self.events[cycle].append(action)

    def run(self) -> tuple[int, dict[str, int]]:
        """Latency and counters.

        Raises: `Stuck` for a program that never ends.
        """
        causes: list[str] = []
        while True:
            for action in self.events.pop(self.cycle, []):
                action()
            if self.ended and not (
                self.execs or self.exec_busy or self.stores or self.store_busy or self.used
            ):
                break
            if self.cycle - self.last_activity > 3000:
                raise Stuck
            # what everyone sees in this cycle
            exec_queue, store_queue = len(self.execs), len(self.stores)
            quiet = not self.execs and not self.exec_busy
            head = self.decoder is None and bool(self.arrived)
            room = len(self.arrived) < 2
            word = bool(self.arrived)
            cause = self.cause(head)
            self.send()
            stepped = self.exec_cycle()
            self.store_cycle()
            self.decode(exec_queue, store_queue, quiet, word)
            self.front(room)
            causes.append("compute" if stepped else cause)
            self.cycle += 1
        self.count.update(causes[: self.latency])
        return self.latency, dict(self.count)

    # --- where cycles go ------------------------------------------------------------------

    def cause(self, head: bool) -> str:
        first = self.arrived[0] if head else None
        if self.exec_busy:
            return "fill_drain"  # or compute
        if self.configuring or isinstance(first, Config | Lanes):
            return "config"
        if self.execs:
            command = self.execs[0][1]
            operands = (
                self.full["input"][command.input_buffer]
                and self.full["weight"][command.weight_buffer]
            )
            return "wait_store" if operands else "wait_load"
        return "wait_store" if self.ended else "wait_load"

    # --- stream ---------------------------------------------------------------------------

    def front(self, room: bool) -> None:
        """Accepts one beat; the last one of a word needs room in the queue."""
        if not self.word_left:
            return
        last = self.beats == self.design.r_in - 1
        if last and not room:
            return
        if self.beats == 0:
            try:
                self.next_word = next(self.incoming)
            except StopIteration:
                self.word_left = False
                return
        self.count["bus_in_beat"] += 1
        self.last_activity = self.cycle
        if last:
            self.arrived.append(self.next_word)
        self.beats = 0 if last else self.beats + 1

    def decode(self, exec_queue: int, store_queue: int, quiet: bool, word: bool) -> None:
        """One decoder step."""
        if self.decoder is None:
            if not word or self.ended:
                return
            command = self.arrived[0]
            assert command is not None
            match command:
                case Config() | Lanes():
                    blocked = not quiet
                case Load():
                    busy = self.full[command.tensor][command.buffer]
                    blocked = busy or (command.tensor, command.buffer) in self.loading
                case Exec():
                    blocked = exec_queue >= QUEUE
                case Store():
                    blocked = store_queue >= QUEUE
                case _:
                    blocked = False
            if blocked:
                return
            self.arrived.pop(0)
            self.last_activity = self.cycle
            if isinstance(command, End):
                self.at(self.cycle + 1, lambda: setattr(self, "ended", True))
                return
            self.decoder = self.steps_of(command)
            self.configuring = isinstance(command, Config | Lanes)
            self.wants = next(self.decoder)
            return
        if self.wants and not word:
            return
        if self.wants:
            self.arrived.pop(0)
        self.last_activity = self.cycle
        try:
            self.wants = next(self.decoder)
        except StopIteration:
            self.decoder = None
            self.configuring = False

    def steps_of(self, command: Command) -> Iterator[bool]:
        """After the header: whether each step needs a word; acts when resumed after a step."""
        match command:
            case Config():
                yield from [True] * 5
                self.config = command
            case Lanes():
                yield from [True] * (self.design.rows + self.design.cols)
                self.lanes = command
            case Load():
                self.loading.add((command.tensor, command.buffer))
                columns = range(command.nc)
                if command.clear:
                    columns = range(command.c_lo, command.c_hi)
                for a, b, c in itertools.product(range(command.na), range(command.nb), columns):
                    yield (command.b_lo <= b < command.b_hi and command.c_lo <= c < command.c_hi)
                    if command.tensor != "params":
                        banks = banks_that_keep(
                            self.design, self.config, self.lanes, command.tensor, (a, b, c)
                        )
                        self.count[f"{command.tensor}_write"] += banks
                self.at(self.cycle + 2, lambda: self.fill(command))
            case Exec():
                yield True
                self.execs.append((self.cycle, command))
            case Store():
                yield True
                self.stores.append((self.cycle, command))

    def fill(self, command: Load) -> None:
        self.loading.discard((command.tensor, command.buffer))
        self.full[command.tensor][command.buffer] = True

    # --- exec unit ------------------------------------------------------------------------

    def exec_cycle(self) -> bool:
        """Whether a step is issued in this cycle."""
        if self.exec_busy:
            if self.nest is None:
                return False
            try:
                stepped = next(self.nest)
            except StopIteration:
                return False
            self.last_activity = self.cycle
            return stepped
        if not self.execs:
            return False
        heard, command = self.execs[0]
        if (
            self.cycle >= heard + 1
            and self.full["input"][command.input_buffer]
            and self.full["weight"][command.weight_buffer]
            and not self.complete[command.output_buffer]
        ):
            self.execs.pop(0)
            self.last_activity = self.cycle
            self.nest = self.exec_steps(command)
            self.at(self.cycle + 1, lambda: setattr(self, "exec_busy", True))
        return False

    def exec_steps(self, command: Exec) -> Iterator[bool]:
        """One item per busy cycle up to the last step: whether it is a step."""
        design, config = self.design, self.config
        assert config is not None
        length = design.chain_length
        held = design.chain_tensor
        operand_held = held in ("input", "weight")
        enabled = enabled_pes(self.lanes, command)
        if operand_held:
            yield from [False] * (length + 1)
        bounds = command.bounds
        steps = list(nest(bounds))
        rows: dict[str, int | None] = {"input": None, "weight": None}
        fill_row: int | None = None
        since = None
        for n, index in enumerate(steps):
            if held and not any(index[: config.sweep_depth]):
                while since is not None and self.cycle - since < config.sweep_min:
                    yield False
                since = self.cycle
                self.count["sweep"] += 1
                if operand_held:
                    self.count["stationary_load"] += design.pes * length
                    base, strides, fill = (
                        getattr(command, f"{held}_base"),
                        getattr(config, f"{held}_strides"),
                        getattr(config, f"{held}_fill_stride"),
                    )
                    for k in range(length):
                        address = base + k * fill
                        for loop in range(config.sweep_depth, 6):
                            address += index[loop] * strides[loop]
                        row = address % 65536 // 16
                        if row != fill_row:
                            self.count[f"{held}_read"] += getattr(design, held).banks
                        fill_row = row
                else:
                    self.count["hop_output"] += design.pes * length
                    self.count["accumulate"] += design.output.banks * length
            self.count["step"] += 1
            self.count["mac"] += enabled
            for tensor in ("input", "weight"):
                operand = getattr(design, tensor)
                self.count[f"hop_{tensor}"] += sum(link.delay for link in operand.links)
                if tensor == held:
                    continue
                strides = getattr(config, f"{tensor}_strides")
                address = getattr(command, f"{tensor}_base") + sum(
                    i * s for i, s in zip(index, strides, strict=True)
                )
                row = address % 65536 // 16
                if row != rows[tensor]:
                    self.count[f"{tensor}_read"] += operand.banks
                rows[tensor] = row
            if held == "output":
                self.count["accumulate"] += enabled
            else:
                for exit_ in design.output.exits:
                    pes = sum(len(stage.pes) for stage in exit_.stages)
                    self.count["tree_add"] += pes - 1
                    self.count["accumulate"] += 1
                    self.count["hop_output"] += sum(stage.delay for stage in exit_.stages)
            run = index[: config.run_depth]
            words = design.output.banks * (length if held == "output" else 1)
            if not any(run):
                again = command.accumulate or any(
                    i and config.reduction_mask >> loop & 1
                    for loop, i in enumerate(index)
                    if loop >= config.run_depth
                )
                self.count["output_read"] += words * again
                self.count["output_write"] += words
            if n == len(steps) - 1:
                drain = design.output.chain_length + 1 if held == "output" else 0
                skew = max(itertools.chain.from_iterable(design.skew))
                self.at(self.cycle + skew + 5 + drain, lambda: self.exec_done(command))
            yield True

    def exec_done(self, command: Exec) -> None:
        self.exec_busy = False
        self.nest = None
        self.last_activity = self.cycle
        if command.release_input:
            self.full["input"][command.input_buffer] = False
        if command.release_weight:
            self.full["weight"][command.weight_buffer] = False
        if command.output_complete:
            self.complete[command.output_buffer] = True

    # --- store unit -----------------------------------------------------------------------

    def store_cycle(self) -> None:
        if self.store_busy:
            assert self.batches is not None
            next(self.batches, None)
            return
        if not self.stores:
            return
        heard, command = self.stores[0]
        if (
            self.cycle >= heard + 1
            and self.complete[command.output_buffer]
            and (command.int32 or self.full["params"][command.params_buffer])
        ):
            self.stores.pop(0)
            self.last_activity = self.cycle
            self.batches = self.store_steps(command)
            self.at(self.cycle + 1, lambda: setattr(self, "store_busy", True))

    def store_steps(self, command: Store) -> Iterator[bool]:
        """One item per busy cycle."""
        group = 1 << command.log2_group
        pixels = 16 // group
        single = command.int32 or group == 16
        mask = [command.pixel_mask >> q & 1 for q in range(pixels)]
        words = 4 if command.int32 else sum(mask)
        indices = list(nest(command.bounds))
        for n, index in enumerate(indices):
            if single or index[0] == 0:
                while self.used + words > FIFO:
                    yield False
                self.used += words  # seen from the next cycle on
            self.count["requantise"] += valid_outputs(command, index)
            if single or index[0] == command.bounds[0] - 1:
                self.at(self.cycle + 6, lambda: self.offer(words))
            if n == len(indices) - 1:
                self.at(self.cycle + 1, lambda: self.store_done(command))
            self.last_activity = self.cycle
            yield True

    def store_done(self, command: Store) -> None:
        self.store_busy = False
        if command.release_output:
            self.complete[command.output_buffer] = False
        if command.release_params:
            self.full["params"][command.params_buffer] = False

    def offer(self, words: int) -> None:
        self.ready_words += words

    def send(self) -> None:
        """Begins to send a word if there is one and the last one has gone."""
        if self.sending or not self.ready_words:
            return
        self.ready_words -= 1
        self.sending = True
        last = self.cycle + self.design.r_out - 1
        self.count["bus_out_beat"] += self.design.r_out
        self.at(last + 1, lambda: self.sent(last + 1))

    def sent(self, latency: int) -> None:
        self.sending = False
        self.used -= 1
        self.latency = latency
        self.last_activity = self.cycle

package dcphw

import chisel3._
import chisel3.util._

/** AXI4-Stream, as seen by its source. */
class AxiStream(bits: Int) extends Bundle {
  val tvalid = Output(Bool())
  val tready = Input(Bool())
  val tdata = Output(UInt(bits.W))
}

/** The accelerator of one design (docs/hardware.md). */
class Accelerator(design: Design) extends Module {
  override def desiredName: String = "Accelerator"
  val s_axil = IO(new AxiLitePort)
  val s_axis = IO(Flipped(new AxiStream(design.busInBits)))
  val m_axis = IO(new AxiStream(design.busOutBits))

  private val registers = Module(new AxiLite(8 + Activity.counters))

  // A start command resets all but the registers' bus.
  private val running = RegInit(false.B)
  private val finished = RegInit(false.B)
  private val start = registers.io.start && (!running || finished)
  private val coreReset = reset.asBool || start
  private def core[M <: Module](module: => M): M = withReset(coreReset)(Module(module))

  private val inBand = RegEnable(registers.io.startsInBand, true.B, start)
  private val active = running && !finished

  private val adapter = core(new InputAdapter(design.busInBits))
  private val decoder = core(new Decoder(design))
  private val lanes = core(new LaneTable(design))
  private val inputBanks = core(new OperandBanks(design, design.input))
  private val weightBanks = core(new OperandBanks(design, design.weight))
  private val sequencer = core(new Sequencer(design))
  private val array = core(new PeArray(design))
  private val outputBanks = core(new OutputBanks(design))
  private val store = core(new StoreUnit(design))
  private val sender = core(new OutputAdapter(design.busOutBits))
  private val activity = core(new Activity(design))

  // --- stream and program in
  when(start) {
    running := true.B
    finished := false.B
  }
  adapter.io.enable := active && !start
  adapter.io.beat.valid := s_axis.tvalid
  adapter.io.beat.bits := s_axis.tdata
  s_axis.tready := adapter.io.beat.ready
  decoder.io.stream <> adapter.io.word
  private val program = core(new Queue(UInt(Words.bits.W), 2))
  registers.io.takesProgram := active && !inBand
  program.io.enq <> registers.io.program
  decoder.io.program <> program.io.deq
  decoder.io.inBand := inBand

  // --- tokens
  private val full = withReset(coreReset)(RegInit(VecInit.fill(3, 2)(false.B))) // input, weight, parameters
  private val complete = withReset(coreReset)(RegInit(VecInit.fill(2)(false.B)))
  private val command = sequencer.io.command
  private val done = sequencer.io.finished
  for (n <- 0 until 2) {
    val frees = Seq(
      done && command.releaseInput && command.inputBuffer === n.U,
      done && command.releaseWeight && command.weightBuffer === n.U,
      store.io.freeParams(n)
    )
    for ((free, t) <- frees.zipWithIndex)
      when(decoder.io.filled(t)(n)) { full(t)(n) := true.B }.elsewhen(free) { full(t)(n) := false.B }
    when(done && command.outputComplete && command.outputBuffer === n.U) {
      complete(n) := true.B
    }.elsewhen(store.io.freeOutput(n)) { complete(n) := false.B }
  }
  decoder.io.taken := full
  sequencer.io.inputFull := full(0)
  sequencer.io.weightFull := full(1)
  store.io.paramsFull := full(2)
  sequencer.io.outputComplete := complete
  store.io.outputComplete := complete

  // --- commands
  private val execQueue = core(new Queue(new ExecCommand, 4))
  private val storeQueue = core(new Queue(new StoreCommand, 4))
  execQueue.io.enq <> decoder.io.exec
  storeQueue.io.enq <> decoder.io.store
  sequencer.io.exec <> execQueue.io.deq
  store.io.command <> storeQueue.io.deq
  sequencer.io.nest := decoder.io.nest
  decoder.io.execQuiet := !execQueue.io.deq.valid && sequencer.io.idle

  // --- lanes and operands
  lanes.io.word := decoder.io.laneWord
  lanes.io.done := decoder.io.lanesDone
  lanes.io.start := sequencer.io.start
  lanes.io.limits := command.limits

  private def taps[T <: Data](first: T, count: Int, reset: T): Vec[T] =
    withReset(coreReset)(VecInit((1 until count).scanLeft(first)((v, _) => RegNext(v, reset))))
  private val steps = taps(sequencer.io.step, design.skewMax + 4, 0.U.asTypeOf(new Step))
  private val inner = sequencer.io.inner.map(taps(_, design.skewMax + 1, 0.U(16.W)))
  for ((step, k) <- lanes.io.step.zip(inner)) step := k
  private val fills = taps(sequencer.io.fill, design.skewMax + 2, 0.U.asTypeOf(new OperandRead))

  for ((banks, operand, tensor, shape, places, buffer) <- Seq(
      (inputBanks, design.input, 0, decoder.io.inputShape, lanes.io.input, command.inputBuffer),
      (weightBanks, design.weight, 1, decoder.io.weightShape, lanes.io.weight, command.weightBuffer)
    )) {
    banks.io.load.valid := decoder.io.load.valid && decoder.io.loadTensor === tensor.U
    banks.io.load.bits := decoder.io.load.bits
    banks.io.shape := shape
    banks.io.place := places
    banks.io.buffer := buffer
    for (k <- 0 to design.skewMax) {
      def read(step: Int) =
        if (operand.isChain) fills(step) else if (tensor == 0) steps(step).input else steps(step).weight
      banks.io.read(k) := read(k)
      banks.io.offset(k) := read(k + 1).address(3, 0)
    }
  }
  store.io.load.valid := decoder.io.load.valid && decoder.io.loadTensor === 2.U
  store.io.load.bits := decoder.io.load.bits

  // --- array
  array.io.input := inputBanks.io.bytes
  array.io.weight := weightBanks.io.bytes
  array.io.enable := lanes.io.enable
  for (k <- 0 until design.skewMax + 4) {
    array.io.valid(k) := steps(k).output.valid
    array.io.sweepFirst(k) := steps(k).sweepFirst
    array.io.sweepLast(k) := steps(k).sweepLast
    array.io.shift(k) := (if (k < design.skewMax + 2) fills(k).valid else false.B)
  }
  outputBanks.io.exits := array.io.exits
  outputBanks.io.steps := steps
  outputBanks.io.drainStride := decoder.io.nest.drainStride
  outputBanks.io.buffer := command.outputBuffer
  outputBanks.io.store := store.io.read
  store.io.lanes := outputBanks.io.lanes

  // --- stream out
  sender.io.word <> store.io.word
  m_axis.tvalid := sender.io.beat.valid
  m_axis.tdata := sender.io.beat.bits
  sender.io.beat.ready := m_axis.tready
  private val allDone = decoder.io.ended && !execQueue.io.deq.valid && sequencer.io.idle &&
    !storeQueue.io.deq.valid && store.io.idle
  when(running && !start && (allDone || decoder.io.error)) { finished := true.B }

  // --- activity and registers
  private val count = activity.io
  count.running := active
  count.step := sequencer.io.step.output.valid
  count.steps := VecInit(steps.map(_.output.valid))
  count.sweep := sequencer.io.sweep
  count.fill := sequencer.io.fill.valid
  count.execBusy := !sequencer.io.idle
  count.configuring := decoder.io.configuring
  count.execWaits := execQueue.io.deq.valid
  count.operandsFull := sequencer.io.operandsFull
  count.ended := decoder.io.ended
  count.enable := lanes.io.enable
  count.start := sequencer.io.start
  private def newRow(operand: Operand, step: OperandRead) =
    if (operand.isChain) sequencer.io.fill.valid && sequencer.io.fill.newRow else step.valid && step.newRow
  count.inputRow := newRow(design.input, sequencer.io.step.input)
  count.weightRow := newRow(design.weight, sequencer.io.step.weight)
  count.inputWrites := inputBanks.io.writes
  count.weightWrites := weightBanks.io.writes
  count.outputReads := outputBanks.io.reads
  count.outputWrites := outputBanks.io.writes
  count.values := store.io.values
  count.beatIn := adapter.io.beat.fire
  count.beatOut := sender.io.beat.fire

  registers.axi <> s_axil
  registers.io.values := VecInit(
    Seq(
      0.U,
      decoder.io.error ## active ## finished,
      activity.io.latency,
      store.io.checksum,
      design.id.U(32.W),
      0.U,
      0.U,
      0.U
    ) ++ activity.io.counters
  )
}

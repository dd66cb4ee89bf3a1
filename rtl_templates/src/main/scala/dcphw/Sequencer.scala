package dcphw

import chisel3._
import chisel3.util._

/** Runs EXEC commands: one step of the loop nest per cycle, fills of the held operand ahead of their sweep. */
class Sequencer(design: Design) extends Module {
  private val hasChain = design.held.isDefined || design.output.isChain
  private val fillLength = design.held.map(_.chainLength).getOrElse(0)
  val io = IO(new Bundle {
    val exec = Flipped(Decoupled(new ExecCommand))
    val nest = Input(new NestConfig)
    val inputFull = Input(Vec(2, Bool()))
    val weightFull = Input(Vec(2, Bool()))
    val outputComplete = Input(Vec(2, Bool()))
    val step = Output(new Step) // valid in step.output.valid
    val inner = design.window.map(_ => Output(UInt(16.W))) // index of loop 0
    val fill = Output(new OperandRead)
    val start = Output(Bool())
    val command = Output(new ExecCommand) // the one that runs; during `start` the one that starts
    val idle = Output(Bool())
    val operandsFull = Output(Bool())
    val finished = Output(Bool())
    val sweep = Output(Bool())
  })

  private object State extends ChiselEnum { val idle, fill, run, drain = Value }
  private val state = RegInit(State.idle)
  private val held = Reg(new ExecCommand)
  private val next = io.exec.bits

  private val operandsFull = io.inputFull(next.inputBuffer) && io.weightFull(next.weightBuffer)
  private val start = state === State.idle && io.exec.valid && operandsFull && !io.outputComplete(next.outputBuffer)
  io.exec.ready := start
  io.start := start
  io.idle := state === State.idle
  io.operandsFull := operandsFull
  when(start) { held := next }
  private val command = Mux(start, next, held)
  io.command := command

  // --- steps
  private val nest = Module(new LoopNest(Words.loops, 16, Seq.fill(3)(Words.addressBits)))
  nest.io.start := start
  nest.io.bounds := held.bounds
  nest.io.bases := Seq(next.inputBase, next.weightBase, next.outputBase)
  nest.io.strides := Seq(io.nest.inputStride, io.nest.weightStride, io.nest.outputStride)
  nest.io.skip := 0.U

  /** Whether `flags` holds for every loop inside `depth`. */
  private def inside(flags: Vec[Bool], depth: UInt): Bool =
    VecInit.tabulate(Words.loops)(l => flags(l) || l.U >= depth).asUInt.andR

  private val runFirst = inside(nest.io.atFirst, io.nest.runDepth)
  private val runLast = inside(nest.io.atLast, io.nest.runDepth)
  private val sweepFirst = inside(nest.io.atFirst, io.nest.sweepDepth)
  private val sweepLast = inside(nest.io.atLast, io.nest.sweepDepth)
  private val partial = held.accumulate || VecInit
    .tabulate(Words.loops)(l => io.nest.reductions(l) && l.U >= io.nest.runDepth && !nest.io.atFirst(l))
    .asUInt
    .orR

  private val sinceSweep = Reg(UInt(17.W))
  private val firstSweep = Reg(Bool())
  private val spaced =
    if (hasChain) !sweepFirst || firstSweep || sinceSweep >= io.nest.sweepMin else true.B
  private val issue = state === State.run && spaced
  nest.io.advance := issue
  when(start) {
    firstSweep := true.B
  }.elsewhen(issue) {
    firstSweep := false.B
  }
  when(issue && sweepFirst) {
    sinceSweep := 1.U
  }.elsewhen(!sinceSweep(16)) {
    sinceSweep := sinceSweep + 1.U
  }
  io.sweep := issue && sweepFirst && hasChain.B

  /** Valid read at `address`, with the row compared to that of the read before in this EXEC. */
  private def read(valid: Bool, address: UInt): OperandRead = {
    val r = Wire(new OperandRead)
    val row = address(Words.addressBits - 1, 4)
    val lastRow = RegEnable(row, valid)
    val fresh = RegInit(true.B)
    when(start) { fresh := true.B }.elsewhen(valid) { fresh := false.B }
    r.valid := valid
    r.address := address
    r.newRow := fresh || row =/= lastRow
    r
  }
  private def isHeld(operand: Operand) = design.held.contains(operand)
  io.step.input := read(issue && !isHeld(design.input).B, nest.io.addresses(0))
  io.step.weight := read(issue && !isHeld(design.weight).B, nest.io.addresses(1))
  io.step.output.valid := issue
  io.step.output.first := runFirst
  io.step.output.last := runLast
  io.step.output.partial := partial
  io.step.output.address := nest.io.addresses(2)
  io.inner.foreach(_ := nest.io.counts(0))
  io.step.sweepFirst := sweepFirst
  io.step.sweepLast := sweepLast

  // --- fills of the held operand
  private val waited = Reg(UInt(log2Ceil(fillLength + 2).max(1).W))
  design.held match {
    case None => io.fill := 0.U.asTypeOf(new OperandRead)
    case Some(operand) =>
      val isInput = operand.name == "input"
      val fills = Module(new LoopNest(Words.loops, 16, Seq(Words.addressBits)))
      val stride = if (isInput) io.nest.inputFillStride else io.nest.weightFillStride
      fills.io.start := start
      fills.io.bounds := held.bounds
      fills.io.bases := Seq(if (isInput) next.inputBase else next.weightBase)
      fills.io.strides := Seq(if (isInput) io.nest.inputStride else io.nest.weightStride)
      fills.io.skip := io.nest.sweepDepth
      val more = Reg(Bool())
      val go = (state === State.fill && waited === 0.U) || (issue && sweepFirst && more)
      fills.io.advance := go
      when(start) { more := true.B }.elsewhen(go && fills.io.done) { more := false.B }
      val left = RegInit(0.U(log2Ceil(fillLength + 1).W))
      val address = Reg(UInt(Words.addressBits.W))
      val current = Mux(go, fills.io.addresses(0), address)
      val active = go || left =/= 0.U
      when(go) { left := (fillLength - 1).U }.elsewhen(left =/= 0.U) { left := left - 1.U }
      when(active) { address := current + stride }
      io.fill := read(active, current)
  }

  // --- states
  private val drainLeft = Reg(UInt(log2Ceil(design.drainCycles + 1).W))
  io.finished := state === State.drain && drainLeft === 1.U
  switch(state) {
    is(State.idle) {
      when(start) {
        waited := 0.U
        state := (if (fillLength > 0) State.fill else State.run)
      }
    }
    is(State.fill) {
      waited := waited + 1.U
      when(waited === fillLength.U) { state := State.run }
    }
    is(State.run) {
      when(issue && nest.io.done) {
        drainLeft := (design.drainCycles - 1).U
        state := State.drain
      }
    }
    is(State.drain) {
      drainLeft := drainLeft - 1.U
      when(io.finished) { state := State.idle }
    }
  }
}

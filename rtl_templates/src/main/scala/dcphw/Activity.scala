package dcphw

import chisel3._
import chisel3.util._

/** Counters of docs/hardware.md, section 9; all of them independent of the data. */
class Activity(design: Design) extends Module {
  private val pes = design.positions.size
  val io = IO(new Bundle {
    val running = Input(Bool())
    val step = Input(Bool())
    val steps = Input(Vec(design.skewMax + 4, Bool()))
    val sweep = Input(Bool())
    val fill = Input(Bool())
    val execBusy = Input(Bool())
    val configuring = Input(Bool())
    val execWaits = Input(Bool())
    val operandsFull = Input(Bool())
    val ended = Input(Bool())
    val enable = Input(Vec(pes, Bool()))
    val start = Input(Bool())
    val inputRow = Input(Bool())
    val weightRow = Input(Bool())
    val inputWrites = Input(UInt(16.W))
    val weightWrites = Input(UInt(16.W))
    val outputReads = Input(UInt(16.W))
    val outputWrites = Input(UInt(16.W))
    val values = Input(UInt(5.W))
    val beatIn = Input(Bool())
    val beatOut = Input(Bool())
    val latency = Output(UInt(32.W))
    val counters = Output(Vec(Activity.counters, UInt(32.W)))
  })

  private val cycle = RegInit(0.U(32.W))
  when(io.running) { cycle := cycle + 1.U }
  private val latency = RegInit(0.U(32.W))
  when(io.beatOut) { latency := cycle + 1.U }
  io.latency := latency

  /** A counter that grows by `amount` (at most `bits` wide). */
  private def counter(amount: UInt): UInt = {
    val c = RegInit(0.U(32.W))
    c := c + amount
    c
  }
  private def events(event: Bool, each: Int): UInt = counter(Mux(event, each.U, 0.U))

  // --- where cycles go: the first that holds
  private val causes = Seq(
    io.step,
    io.execBusy,
    io.configuring,
    (io.execWaits && !io.operandsFull) || (!io.execWaits && !io.ended)
  )
  private val before = causes.scanLeft(false.B)(_ || _)
  private val cycles = causes.zip(before).map { case (c, b) => events(io.running && c && !b, 1) }
  private val waitsForStore = io.running && !before.last
  private val storeCycles = RegInit(0.U(32.W))
  when(waitsForStore) { storeCycles := storeCycles + 1.U }
  private val storeSeen = RegInit(0.U(32.W)) // up to the last beat
  when(io.beatOut) { storeSeen := storeCycles + waitsForStore }

  // --- enabled PEs per step, by skew
  private val started = RegNext(io.start, false.B)
  private val bySkew = design.positions.zipWithIndex.groupBy { case (pe, _) => design.skewOf(pe) }.toSeq.sortBy(_._1)
  private val macs = bySkew.map { case (skew, members) =>
    val count = PopCount(members.map { case (_, n) => io.enable(n) })
    val enabled = if (design.window.isEmpty) RegEnable(count, started) else RegNext(count)
    Mux(io.steps(skew + 2), enabled, 0.U)
  }
  private val mac = counter(macs.reduce(_ +& _))
  private val sweepMacs = mac // an accumulating PE adds once per enabled step

  private val chain = design.output.chainLength
  private def registers(operand: Operand): Int = operand.links.map(_.delay).sum
  private val stageRegisters = design.output.exits.flatMap(_.stages.map(_.delay)).sum
  private val hopInput = events(io.step, registers(design.input))
  private val hopWeight = events(io.step, registers(design.weight))
  private val hopOutput = if (design.output.isChain) events(io.sweep, pes * chain) else events(io.step, stageRegisters)
  private val stationary = events(io.fill, pes)
  private val adds = events(io.step, if (design.output.isChain) 0 else pes - design.output.banks)
  private val accumulate =
    if (design.output.isChain) sweepMacs + events(io.sweep, design.output.banks * chain)
    else events(io.step, design.output.banks)

  io.counters := VecInit(
    cycles(0), // compute
    cycles(1), // fill_drain
    cycles(2), // config
    cycles(3), // wait_load
    storeSeen, // wait_store
    events(io.step, 1),
    mac,
    events(io.inputRow, design.input.banks),
    events(io.weightRow, design.weight.banks),
    counter(io.inputWrites),
    counter(io.weightWrites),
    counter(io.outputReads),
    counter(io.outputWrites),
    counter(io.values),
    events(io.beatIn, 1),
    events(io.beatOut, 1),
    hopInput,
    hopWeight,
    hopOutput,
    stationary,
    adds,
    accumulate,
    events(io.sweep, 1)
  )
}

object Activity {
  val counters = 23
}

package dcphw

import chisel3._
import chisel3.util._

/** A read of 16 store lanes. */
class GroupRead extends Bundle {
  val valid = Bool()
  val buffer = UInt(1.W)
  val group = UInt(8.W)
  val address = UInt(Words.addressBits.W)
}

/** Exits with their accumulators and banks; banks whose exits have one skew are one wide memory. */
class OutputBanks(design: Design) extends Module {
  private val output = design.output
  private val bits = design.accBits
  private val taps = design.skewMax + 4
  private val addressBits = Memories.addressBits(output.words)
  val io = IO(new Bundle {
    val exits = Input(Vec(output.banks, SInt(bits.W)))
    val steps = Input(Vec(taps, new Step)) // tap k: k cycles after the sequencer
    val drainStride = Input(UInt(Words.addressBits.W))
    val buffer = Input(UInt(1.W))
    val store = Input(new GroupRead)
    val lanes = Output(Vec(16, SInt(bits.W))) // one cycle after `store`
    val reads = Output(UInt(16.W)) // partial sums read in this cycle, in words
    val writes = Output(UInt(16.W))
  })

  /** What the exits of skew `skew` do with the sums that arrive in this cycle. */
  private def arriving(skew: Int): OutputStep =
    if (!output.isChain) io.steps(skew + 2).output
    else {
      val trigger = io.steps(skew + 3)
      val left = RegInit(0.U(log2Ceil(output.chainLength + 1).W))
      val address = Reg(UInt(Words.addressBits.W))
      val partial = Reg(Bool())
      val drain = Wire(new OutputStep)
      drain.valid := left =/= 0.U
      drain.first := true.B
      drain.last := true.B
      drain.partial := partial
      drain.address := address
      when(trigger.output.valid && trigger.sweepLast) {
        left := output.chainLength.U
        address := trigger.output.address
        partial := trigger.output.partial
      }.elsewhen(left =/= 0.U) {
        left := left - 1.U
        address := address + io.drainStride
      }
      drain
    }

  private val classes = for ((skew, banks) <- design.exitClasses) yield {
    val now = arriving(skew)
    val next = RegNext(now, 0.U.asTypeOf(new OutputStep))
    val done = RegNext(next, 0.U.asTypeOf(new OutputStep))
    val readPartial = now.valid && now.first && now.partial
    val rams = Seq.tabulate(2)(n => Module(new WordRam(output.words, banks.size * bits)).suggestName(s"ram_${skew}_$n"))
    val previous = Mux(io.buffer === 0.U, rams(0).io.rdata, rams(1).io.rdata)
    val sums = Reg(Vec(banks.size, SInt(bits.W)))
    for ((bank, k) <- banks.zipWithIndex) {
      val arrived = RegEnable(io.exits(bank), now.valid).suggestName(s"arrived_$bank")
      val stored = previous(bits * (k + 1) - 1, bits * k).asSInt
      val before = Mux(next.first, Mux(next.partial, stored, 0.S), sums(k))
      when(next.valid) { sums(k) := before + arrived }
    }
    for ((ram, n) <- rams.zipWithIndex) {
      val isExec = io.buffer === n.U && readPartial
      val isStore = io.store.valid && io.store.buffer === n.U
      ram.io.clock := clock
      ram.io.ren := isExec || isStore
      ram.io.raddr := Mux(isExec, now.address, io.store.address)(addressBits - 1, 0)
      ram.io.wen := done.valid && done.last && io.buffer === n.U
      ram.io.waddr := done.address(addressBits - 1, 0)
      ram.io.wdata := sums.asUInt
    }
    val storeBuffer = RegNext(io.store.buffer)
    val word = Mux(storeBuffer === 0.U, rams(0).io.rdata, rams(1).io.rdata)
    val laneOf = banks.zipWithIndex.map { case (bank, k) =>
      output.storeLanes(bank) -> word(bits * (k + 1) - 1, bits * k).asSInt
    }
    (
      laneOf,
      Mux(readPartial, banks.size.U(16.W), 0.U),
      Mux(done.valid && done.last, banks.size.U(16.W), 0.U)
    )
  }
  io.reads := classes.map(_._2).reduce(_ +& _)
  io.writes := classes.map(_._3).reduce(_ +& _)

  private val lanes = classes.flatMap(_._1).toMap
  private val groups = lanes.keys.max / 16 + 1
  private val group = RegNext(io.store.group)
  for (s <- 0 until 16) {
    val candidates = Seq.tabulate(groups)(g => lanes.getOrElse(16 * g + s, 0.S(bits.W)))
    io.lanes(s) := (if (groups == 1) candidates.head
                    else MuxLookup(group, 0.S(bits.W))(candidates.zipWithIndex.map { case (v, g) => g.U -> v }))
  }
}

package dcphw

import chisel3._
import chisel3.util._

import scala.collection.mutable

/** All PEs with the links that the design lists. */
class PeArray(design: Design) extends Module {
  private val kind = PeKind(
    design.input.isChain,
    design.weight.isChain,
    design.output.isChain,
    design.dataBits,
    design.accBits
  )
  private val taps = design.skewMax + 4
  val io = IO(new Bundle {
    val input = Input(Vec(design.input.ports.size, UInt(8.W)))
    val weight = Input(Vec(design.weight.ports.size, UInt(8.W)))
    val enable = Input(Vec(design.positions.size, Bool()))
    val valid = Input(Vec(taps, Bool())) // tap k: k cycles after the sequencer
    val sweepFirst = Input(Vec(taps, Bool()))
    val sweepLast = Input(Vec(taps, Bool()))
    val shift = Input(Vec(taps, Bool()))
    val exits = Output(Vec(design.output.banks, SInt(design.accBits.W)))
  })

  private val pes = design.positions.map(pe => pe -> Module(new Pe(kind)).suggestName(s"pe_$pe")).toMap
  for ((pe, n) <- design.positions.zipWithIndex) {
    val skew = design.skewOf(pe)
    val p = pes(pe).io
    p.enable := io.valid(skew + 1) && io.enable(n)
    p.shift.foreach(_ := io.shift(skew + 1))
    p.swap.foreach(_ := io.valid(skew) && io.sweepFirst(skew))
    p.valid.foreach(_ := io.valid(skew + 2))
    p.clear.foreach(_ := io.sweepFirst(skew + 2))
    p.capture.foreach(_ := io.valid(skew + 3) && io.sweepLast(skew + 3))
  }

  /** `value`, `cycles` later, through registers that bear `name`. */
  private def delayed[T <: Data](value: T, cycles: Int, name: String): T =
    (0 until cycles).foldLeft(value)((v, n) => RegNext(v).suggestName(s"${name}_$n"))

  connectOperand(design.input, io.input, _.input)
  connectOperand(design.weight, io.weight, _.weight)

  private def connectOperand(operand: Operand, bytes: Vec[UInt], pin: PeIo => UInt): Unit = {
    val fromPort = operand.ports.zipWithIndex.map { case (port, k) => port.pe -> bytes(k) }.toMap
    if (operand.isChain) {
      for (chain <- operand.chains) {
        pin(pes(chain.head).io) := fromPort(chain.head)
        for ((from, to) <- chain.zip(chain.tail)) {
          val hop = design.skewOf(to) - design.skewOf(from)
          require(hop >= 0, s"${operand.name}: chain must follow the skew, $from to $to goes back")
          pin(pes(to).io) := delayed(pes(from).io.chain.get, hop, s"${operand.name}Chain_${from}_to_$to")
        }
      }
    } else {
      val linkTo = operand.links.map(l => l.to -> l).toMap
      val operands = mutable.Map[Position, UInt]()
      def at(pe: Position): UInt = operands.getOrElseUpdate(
        pe,
        fromPort.getOrElse(
          pe, {
            val link = linkTo(pe)
            delayed(at(link.from), link.delay, s"${operand.name}Link_${link.from}_to_$pe")
          }
        )
      )
      for (pe <- design.positions) pin(pes(pe).io) := at(pe)
    }
  }

  if (design.output.isChain) {
    for (drain <- design.output.drains) {
      pes(drain.pes.last).io.drainIn.get := 0.S
      for ((to, from) <- drain.pes.zip(drain.pes.tail)) {
        val hop = design.skewOf(to) - design.skewOf(from)
        require(hop >= 0, s"output: drain chain must follow the skew, $from to $to goes back")
        pes(to).io.drainIn.get := delayed(pes(from).io.drainOut.get, hop, s"drain_${from}_to_$to")
      }
      io.exits(drain.bank) := pes(drain.pes.head).io.drainOut.get
    }
  } else {
    for (exit <- design.output.exits) {
      val sums = exit.stages.zipWithIndex.foldLeft(Option.empty[SInt]) { case (before, (stage, n)) =>
        val products = stage.pes.map(pe => Sum.extend(pes(pe).io.product.get, design.accBits))
        val incoming = before.map(v => delayed(v, stage.delay, s"sumLink_${exit.bank}_$n"))
        Some(Sum.tree(products ++ incoming).suggestName(s"sum_${exit.bank}_$n"))
      }
      io.exits(exit.bank) := sums.get
    }
  }
}

object Sum {

  /** `value` in `bits` bits. */
  def extend(value: SInt, bits: Int): SInt = {
    val wide = Wire(SInt(bits.W))
    wide := value
    wide
  }

  /** Sum of values of one width, in that width, as a balanced tree. */
  def tree(values: Seq[SInt]): SInt =
    if (values.size == 1) values.head
    else {
      val (left, right) = values.splitAt(values.size / 2)
      tree(left) + tree(right)
    }
}

package dcphw

import ujson.Value

/** Position of a PE: row (axis 1), column (axis 2). */
case class Position(row: Int, col: Int) {
  override def toString: String = s"${row}_$col"
}

/** A PE that reads bank `bank`, `slot` bytes after the bank's address. */
case class Port(bank: Int, slot: Int, pe: Position)

/** The operand of `to` is that of `from`, `delay` cycles earlier. */
case class Link(from: Position, to: Position, delay: Int)

/** How one operand (input or weight) reaches the PEs. */
case class Operand(
    name: String,
    isChain: Boolean,
    banks: Int,
    rows: Int,
    lanes: Seq[Position],
    slots: Int,
    ports: Seq[Port],
    links: Seq[Link],
    chains: Seq[Seq[Position]]
) {
  val chainLength: Int = if (isChain) chains.head.size else 0
}

/** PEs whose products are added, `delay` registers after the stage before. */
case class Stage(pes: Seq[Position], delay: Int)

/** One output port without a drain chain: stages in order of accumulation. */
case class Exit(bank: Int, stages: Seq[Stage])

/** One output port with a drain chain, exit PE first. */
case class Drain(bank: Int, pes: Seq[Position])

/** How results leave the PEs. */
case class Output(
    isChain: Boolean,
    banks: Int,
    words: Int,
    storeLanes: Seq[Int],
    exits: Seq[Exit],
    drains: Seq[Drain]
) {
  val chainLength: Int = if (isChain) drains.head.pes.size else 0
}

/** A design as `design.json` lists it (docs/hardware.md, section 3); nothing is derived from mathematics here. */
case class Design(
    name: String,
    id: Long,
    rows: Int,
    cols: Int,
    dataBits: Int,
    accBits: Int,
    busInBits: Int,
    busOutBits: Int,
    skew: Seq[Seq[Int]],
    input: Operand,
    weight: Operand,
    output: Output,
    paramRows: Int
) {
  require(rows >= 1 && cols >= 1, s"array must be at least 1 x 1, got $rows x $cols")
  require(Set(32, 64, 128)(busInBits), s"bus.in_bits must be 32, 64 or 128, got $busInBits")
  require(Set(32, 64, 128)(busOutBits), s"bus.out_bits must be 32, 64 or 128, got $busOutBits")
  require(dataBits >= 2 && dataBits <= 8, s"widths.data must be 2 .. 8, got $dataBits")
  require(accBits > 2 * dataBits && accBits <= 32, s"widths.acc must be ${2 * dataBits + 1} .. 32, got $accBits")

  val positions: Seq[Position] = for (i <- 0 until rows; j <- 0 until cols) yield Position(i, j)
  def skewOf(pe: Position): Int = skew(pe.row)(pe.col)
  val skewMax: Int = positions.map(skewOf).max
  val operands: Seq[Operand] = Seq(input, weight)

  /** The operand that is held in the PEs, if there is one. */
  val held: Option[Operand] = operands.find(_.isChain)
  require(operands.count(_.isChain) <= 1, "at most one operand can be held in the PEs")

  /** PEs at which results leave, with their bank. */
  val exitPes: Seq[(Int, Position)] =
    if (output.isChain) output.drains.map(d => d.bank -> d.pes.head)
    else output.exits.map(e => e.bank -> e.stages.last.pes.head)

  /** Banks of the output grouped by the skew of their exit: such banks work in step. */
  val exitClasses: Seq[(Int, Seq[Int])] =
    exitPes.groupBy { case (_, pe) => skewOf(pe) }.toSeq.sortBy(_._1).map { case (s, e) => s -> e.map(_._1).sorted }

  /** Cycles from the last step until everything is written (docs/hardware.md, section 8). */
  val drainCycles: Int = if (output.isChain) skewMax + output.chainLength + 6 else skewMax + 5

  for (pe <- positions) {
    val stages = if (output.isChain) output.drains.map(_.pes) else output.exits.flatMap(_.stages.map(_.pes))
    require(stages.count(_.contains(pe)) == 1, s"PE $pe must be in exactly one exit stage or drain chain")
  }
  for (operand <- operands; pe <- positions) {
    val sources =
      if (operand.isChain) operand.chains.count(_.contains(pe))
      else operand.ports.count(_.pe == pe) + operand.links.count(_.to == pe)
    require(sources == 1, s"${operand.name}: PE $pe needs exactly one source, has $sources")
  }
  for (operand <- operands; link <- operand.links)
    require(
      link.delay == skewOf(link.to) - skewOf(link.from) && link.delay >= 0,
      s"${operand.name}: link ${link.from} to ${link.to} has delay ${link.delay}, the skews differ by ${skewOf(link.to) - skewOf(link.from)}"
    )
}

object Design {
  private def position(v: Value): Position = Position(v(0).num.toInt, v(1).num.toInt)
  private def positions(v: Value): Seq[Position] = v.arr.toSeq.map(position)
  private def list(v: Value, key: String): Seq[Value] = v.obj.get(key).map(_.arr.toSeq).getOrElse(Seq())

  private def operand(name: String, v: Value): Operand = Operand(
    name,
    v("temporal").str == "chain",
    v("banks").num.toInt,
    v("rows").num.toInt,
    positions(v("lanes")),
    v("slots").num.toInt,
    list(v, "ports").map(p => Port(p("bank").num.toInt, p("slot").num.toInt, position(p("pe")))),
    list(v, "links").map(l => Link(position(l("from")), position(l("to")), l("delay").num.toInt)),
    list(v, "chains").map(positions)
  )

  private def output(v: Value): Output = Output(
    v("temporal").str == "chain",
    v("banks").num.toInt,
    v("words").num.toInt,
    v("store_lanes").arr.toSeq.map(_.num.toInt),
    list(v, "exits").map(e =>
      Exit(e("bank").num.toInt, e("stages").arr.toSeq.map(s => Stage(positions(s("pes")), s("delay").num.toInt)))
    ),
    list(v, "chains").map(d => Drain(d("bank").num.toInt, positions(d("pes"))))
  )

  /** The design in `text`, a design.json of schema 1. */
  def parse(text: String): Design = {
    val v = ujson.read(text)
    require(v("schema").num.toInt == 1, s"design.json has schema ${v("schema")}, this generator reads 1")
    val digest = java.security.MessageDigest.getInstance("SHA-256").digest(text.getBytes("UTF-8"))
    Design(
      v("name").str,
      digest.take(4).foldLeft(0L)((acc, b) => (acc << 8) | (b & 0xff)),
      v("array")("rows").num.toInt,
      v("array")("cols").num.toInt,
      v("widths")("data").num.toInt,
      v("widths")("acc").num.toInt,
      v("bus")("in_bits").num.toInt,
      v("bus")("out_bits").num.toInt,
      v("skew").arr.toSeq.map(_.arr.toSeq.map(_.num.toInt)),
      operand("input", v("tensors")("input")),
      operand("weight", v("tensors")("weight")),
      output(v("tensors")("output")),
      v("params")("rows").num.toInt
    )
  }
}

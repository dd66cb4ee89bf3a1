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

/** PEs whose products are added, `delay` registers after the stage before; of one skew unless the design has windows. */
case class Stage(pes: Seq[Position], delay: Int)

/** One output port without a drain chain: stages in order of accumulation. It works in step with the first PE of the last one. */
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
    paramRows: Int,
    window: Option[Seq[Int]]
) {
  require(rows >= 1 && cols >= 1, s"array must be at least 1 x 1, got $rows x $cols")
  require(Set(32, 64, 128)(busInBits), s"bus.in_bits must be 32, 64 or 128, got $busInBits")
  require(Set(32, 64, 128)(busOutBits), s"bus.out_bits must be 32, 64 or 128, got $busOutBits")
  require(dataBits >= 2 && dataBits <= 8, s"widths.data must be 2 .. 8, got $dataBits")
  require(accBits >= 8 && accBits <= 32, s"widths.acc must be 8 .. 32, got $accBits")
  require(paramRows >= 1 && paramRows <= 256, s"params.rows must be 1 .. 256, got $paramRows")
  require(skew.size == rows && skew.forall(_.size == cols), s"skew must be $rows x $cols")
  require(skew.flatten.forall(_ >= 0), s"skew must be >= 0, got ${skew.flatten.min}")

  val positions: Seq[Position] = for (i <- 0 until rows; j <- 0 until cols) yield Position(i, j)
  def skewOf(pe: Position): Int = skew(pe.row)(pe.col)
  val skewMax: Int = positions.map(skewOf).max
  val operands: Seq[Operand] = Seq(input, weight)

  /** The operand that is held in the PEs, if there is one. */
  val held: Option[Operand] = operands.find(_.isChain)
  private val chained = operands.filter(_.isChain).map(_.name) ++ (if (output.isChain) Seq("output") else Seq())
  require(chained.size <= 1, s"at most one tensor can be a chain, got ${chained.mkString(" and ")}")
  for (steps <- window) {
    require(steps.size == Words.digits, s"window.steps needs ${Words.digits} entries, got ${steps.size}")
    require(steps.forall(_.abs <= 7), s"window.steps must be -7 .. 7, got ${steps.mkString(", ")}")
    require(chained.isEmpty, s"a design with windows has no chains, got ${chained.mkString(" and ")}")
  }
  operands.foreach(checkOperand)
  checkOutput()

  /** PEs at which results leave, with their bank. */
  val exitPes: Seq[(Int, Position)] =
    if (output.isChain) output.drains.map(d => d.bank -> d.pes.head)
    else output.exits.map(e => e.bank -> e.stages.last.pes.head)

  /** Banks of the output grouped by the skew of their exit: such banks work in step. */
  val exitClasses: Seq[(Int, Seq[Int])] =
    exitPes.groupBy { case (_, pe) => skewOf(pe) }.toSeq.sortBy(_._1).map { case (s, e) => s -> e.map(_._1).sorted }

  /** Cycles from the last step until everything is written (docs/hardware.md, section 8). */
  val drainCycles: Int = if (output.isChain) skewMax + output.chainLength + 6 else skewMax + 5

  /** How often each PE is in `pes`, which must be of this array. */
  private def countOf(pes: Seq[Position]): Seq[(Position, Int)] = {
    val found = pes.groupMapReduce(identity)(_ => 1)(_ + _)
    val outside = found.keySet -- positions
    require(outside.isEmpty, s"PE ${outside.mkString(", ")} is outside the array of $rows x $cols")
    positions.map(pe => pe -> found.getOrElse(pe, 0))
  }

  private def checkOperand(operand: Operand): Unit = {
    val name = operand.name
    require(operand.rows >= 1 && operand.rows <= 4096, s"$name: rows must be 1 .. 4096, got ${operand.rows}")
    require(operand.slots >= 1 && operand.slots <= 16, s"$name: slots must be 1 .. 16, got ${operand.slots}")
    require(operand.lanes.size == operand.banks, s"$name: ${operand.banks} banks, but ${operand.lanes.size} lanes")
    for (port <- operand.ports) {
      require(port.bank >= 0 && port.bank < operand.banks, s"$name: PE ${port.pe} reads bank ${port.bank}, not there")
      require(port.slot >= 0 && port.slot < operand.slots, s"$name: PE ${port.pe} reads slot ${port.slot}, not there")
    }
    val sources = if (operand.isChain) operand.chains.flatten else operand.ports.map(_.pe) ++ operand.links.map(_.to)
    for ((pe, n) <- countOf(sources)) require(n == 1, s"$name: PE $pe needs exactly one source, has $n")
    countOf(operand.links.map(_.from))
    for (link <- operand.links if window.isDefined)
      require(link.delay >= 0, s"$name: link ${link.from} to ${link.to} has delay ${link.delay}")
    for (link <- operand.links if window.isEmpty)
      require(
        link.delay == skewOf(link.to) - skewOf(link.from) && link.delay >= 0,
        s"$name: link ${link.from} to ${link.to} has delay ${link.delay}, the skews differ by ${skewOf(link.to) - skewOf(link.from)}"
      )
    if (operand.isChain) {
      require(operand.links.isEmpty, s"$name: a chain has no links")
      require(operand.chains.map(_.size).distinct.size == 1, s"$name: chains must be of one length")
      require(
        operand.ports.map(_.pe).sortBy(_.toString) == operand.chains.map(_.head).sortBy(_.toString),
        s"$name: ports must name the first PE of each chain"
      )
    } else {
      require(operand.chains.isEmpty, s"$name: chains, but temporal is none")
      // otherwise links form a loop
      val next = operand.links.groupMap(_.from)(_.to)
      val reached = Iterator
        .iterate(operand.ports.map(_.pe))(_.flatMap(next.getOrElse(_, Seq())))
        .takeWhile(_.nonEmpty)
        .flatten
        .toSet
      val lost = positions.filterNot(reached)
      require(lost.isEmpty, s"$name: no port leads to PE ${lost.mkString(", ")}")
    }
  }

  private def checkOutput(): Unit = {
    require(output.exits.forall(_.stages.nonEmpty), "output: an exit needs at least one stage")
    val banks = if (output.isChain) output.drains.map(_.bank) else output.exits.map(_.bank)
    require(output.words >= 1 && output.words <= 65536, s"output: words must be 1 .. 65536, got ${output.words}")
    require(
      banks.sorted == (0 until output.banks),
      s"output: each of ${output.banks} banks needs one exit or chain, got ${banks.sorted.mkString(", ")}"
    )
    require(
      output.storeLanes.size == output.banks && output.storeLanes.distinct.size == output.banks,
      s"output: store_lanes must be ${output.banks} different lanes"
    )
    val stages = if (output.isChain) output.drains.map(_.pes) else output.exits.flatMap(_.stages.map(_.pes))
    for ((pe, n) <- countOf(stages.flatten))
      require(n == 1, s"output: PE $pe must be in exactly one exit stage or drain chain, is in $n")
    if (output.isChain) require(stages.map(_.size).distinct.size == 1, "output: chains must be of one length")
    else
      for (exit <- output.exits; (stage, n) <- exit.stages.zipWithIndex if window.isDefined) {
        require(stage.pes.nonEmpty, s"output: stage $n of exit ${exit.bank} has no PE")
        require(
          stage.delay >= 0 && (n > 0 || stage.delay == 0),
          s"output: stage $n of exit ${exit.bank} has delay ${stage.delay}"
        )
      }
    if (!output.isChain)
      for (exit <- output.exits; (stage, n) <- exit.stages.zipWithIndex if window.isEmpty) {
        val skews = stage.pes.map(skewOf).distinct
        require(skews.size == 1, s"output: PEs of stage $n of exit ${exit.bank} have skews ${skews.mkString(", ")}")
        val needed = if (n == 0) 0 else skews.head - skewOf(exit.stages(n - 1).pes.head)
        require(
          stage.delay == needed && needed >= 0,
          s"output: stage $n of exit ${exit.bank} has delay ${stage.delay}, the skews differ by $needed"
        )
      }
  }
}

object Design {
  private def position(v: Value): Position = Position(v(0).num.toInt, v(1).num.toInt)
  private def positions(v: Value): Seq[Position] = v.arr.toSeq.map(position)
  private def list(v: Value, key: String): Seq[Value] = v.obj.get(key).map(_.arr.toSeq).getOrElse(Seq())

  private def isChain(name: String, v: Value): Boolean = {
    val temporal = v("temporal").str
    require(Set("none", "chain")(temporal), s"$name: temporal must be none or chain, got $temporal")
    temporal == "chain"
  }

  private def operand(name: String, v: Value): Operand = Operand(
    name,
    isChain(name, v),
    v("banks").num.toInt,
    v("rows").num.toInt,
    positions(v("lanes")),
    v("slots").num.toInt,
    list(v, "ports").map(p => Port(p("bank").num.toInt, p("slot").num.toInt, position(p("pe")))),
    list(v, "links").map(l => Link(position(l("from")), position(l("to")), l("delay").num.toInt)),
    list(v, "chains").map(positions)
  )

  private def output(v: Value): Output = Output(
    isChain("output", v),
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
      v("params")("rows").num.toInt,
      v.obj.get("window").map(_("steps").arr.toSeq.map(_.num.toInt))
    )
  }
}

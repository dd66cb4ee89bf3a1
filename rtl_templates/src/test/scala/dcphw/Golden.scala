package dcphw

import java.nio.file.{Files, Path, Paths}

import scala.jdk.CollectionConverters._

/** The designs that pytest keeps equal to what the elaborator gives (scripts/golden_designs.py). */
object Golden {
  private val folder = Paths.get("..", "tests", "golden", "designs")

  /** Families, sorted. */
  val kinds: Seq[String] = {
    val listing = Files.list(folder)
    try listing.iterator.asScala.map(_.getFileName.toString.stripSuffix(".json")).toSeq.sorted
    finally listing.close()
  }
  require(kinds.nonEmpty, s"no designs in $folder")

  def path(kind: String): Path = folder.resolve(s"$kind.json")

  def text(kind: String): String = Files.readString(path(kind))

  def design(kind: String): Design = Design.parse(text(kind))

  /** The file of `kind`, changed. */
  def changed(kind: String)(change: ujson.Value => Unit): String = {
    val value = ujson.read(text(kind))
    change(value)
    ujson.write(value)
  }
}

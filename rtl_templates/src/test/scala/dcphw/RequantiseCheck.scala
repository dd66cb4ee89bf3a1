package dcphw

import scala.math.BigDecimal.RoundingMode
import scala.util.Random

/** What `Requantise` must give, and values to try. */
object RequantiseCheck {
  val maxShift = 47 // as sim/reference.py has it

  /** `value / 2^shift`, rounded half to even, saturated to int8. */
  def reference(value: BigInt, shift: Int): BigInt = {
    val exact = BigDecimal.exact(value) / BigDecimal.exact(BigInt(1) << shift)
    exact.setScale(0, RoundingMode.HALF_EVEN).toBigIntExact.get.max(-128).min(127)
  }

  /** Products (of a sum of 33 bits and a multiplier of 16) and shifts. */
  def cases(random: Random): Seq[(BigInt, Int)] = {
    val extremes = for {
      sum <- Seq(-BigInt(2).pow(32), BigInt(-1), BigInt(0), BigInt(1), BigInt(2).pow(32) - 2)
      multiplier <- Seq(1, 32768, 65535)
    } yield sum * multiplier
    (0 to maxShift).flatMap { shift =>
      val any = Seq.fill(8)((BigInt(33, random) - BigInt(2).pow(32)) * random.nextInt(65536))
      val rounded = Seq(-130, -129, -128, -127, -1, 0, 125, 126, 127, 128) ++ Seq.fill(4)(random.nextInt(256) - 128)
      val halves = rounded.map(n => (BigInt(2 * n + 1) << shift) / 2 + random.nextInt(3) - 1)
      (extremes ++ any ++ halves.filter(_.bitLength < 49)).map(_ -> shift)
    }
  }
}

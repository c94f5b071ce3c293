"""The loops and branches of a schedule of bundles, read from a dump in the form that libtpu writes."""

from scripts.aot.tpu_cycles import lines

# A loop of two bundles and what is issued with its branch, within what another branch may skip.
DUMP = """
= control target key start
LB: loop body
     0   :  { %s0 = smov 0 }
   0x1   :  { %9 = sbr.rel (%p0) target = $region4 }
   0x2   :  {}
   0x3   :  {}
   0x4   :  {}
   0x5   :  {}
   0x6   : > { %s1 = smov 0 /* first */ } /* Start region 1 */
   0x7 LB: >> { %s2 = sphi %s1, %s3 } /* Start region 3 :: Start region 7 */
   0x8   : >> { %8 = sbr.rel (!%p1) target = $region3 }
   0x9   :  {}
   0xa   :  {}
   0xb   :  {}
   0xc   :  {} /* End region 3 */
   0xd   : > { %s4 = sadd.s32 1, %s2 } /* End region 1 */
   0xe PF: > { %s5 = sadd.s32 1, %s2 } /* Start/End empty region 4 */
"""


def test_bundles_are_counted_in_the_shortest_loop_or_branch_that_holds_them() -> None:
    assert list(lines(DUMP)) == ["     0 kernel 7", "     6   if 2", "     7     loop 6"]

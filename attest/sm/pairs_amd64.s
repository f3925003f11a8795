//go:build !purego

#include "textflag.h"

// SM4 over 64 blocks whose words are lanes, the S-box by GFNI. No table is indexed by data and no branch depends on it. Callers have
// looked for AVX-512 F, BW and GFNI. 依据: GB/T 32907-2016, 6 and 7.

// The S-box of SM4 is A(I(A(x))) with I the inverse in GF(2^8) modulo x^8+x^7+x^6+x^5+x^4+x^2+1. GFNI inverts modulo
// x^8+x^4+x^3+x+1; pre maps A(x) into that field, post maps the inverse back and applies A. The constants are 0x65 and 0xd3.
DATA boxPre<>+0(SB)/8, $0x34ac259e022dbc52
GLOBL boxPre<>(SB), RODATA|NOPTR, $8
DATA boxPost<>+0(SB)/8, $0xd72d8e511e6c8b19
GLOBL boxPost<>(SB), RODATA|NOPTR, $8

#define BOX(x) \
	VGF2P8AFFINEQB    $0x65, Z28, x, x \
	VGF2P8AFFINEINVQB $0xd3, Z29, x, x

// MIX is a ^= x ^ x<<<2 ^ x<<<10 ^ x<<<18 ^ x<<<24.
#define MIX(a, x, t, u) \
	VPROLD     $2, x, t         \
	VPROLD     $24, x, u        \
	VPTERNLOGD $0x96, x, t, a   \
	VPROLD     $10, x, t        \
	VPROLD     $18, x, x        \
	VPTERNLOGD $0x96, t, u, a   \
	VPXORD     x, a, a

// STEP is round i of 64 blocks. The four groups take turns: the next step of one waits for its last.
#define STEP(i, a0, b0, c0, d0, a1, b1, c1, d1, a2, b2, c2, d2, a3, b3, c3, d3) \
	VPXORD.BCST (4*i)(R8), b0, Z16   \
	VPXORD.BCST (4*i)(R8), b1, Z19   \
	VPXORD.BCST (4*i)(R8), b2, Z22   \
	VPXORD.BCST (4*i)(R8), b3, Z25   \
	VPTERNLOGD  $0x96, c0, d0, Z16   \
	VPTERNLOGD  $0x96, c1, d1, Z19   \
	VPTERNLOGD  $0x96, c2, d2, Z22   \
	VPTERNLOGD  $0x96, c3, d3, Z25   \
	BOX(Z16)                         \
	BOX(Z19)                         \
	BOX(Z22)                         \
	BOX(Z25)                         \
	MIX(a0, Z16, Z17, Z18)           \
	MIX(a1, Z19, Z20, Z21)           \
	MIX(a2, Z22, Z23, Z24)           \
	MIX(a3, Z25, Z26, Z27)

// LOADWORDS makes of 16 pairs of numbers at o of SI and BX the four words of 16 blocks. In each block of four lanes the first two are of the
// first eight numbers: SAVE undoes it.
#define LOADWORDS(o, a, b, c, d) \
	VMOVDQU64 (o)(SI), Z16            \
	VMOVDQU64 (o+64)(SI), Z17         \
	VMOVDQU64 (o)(BX), Z18            \
	VMOVDQU64 (o+64)(BX), Z19         \
	VSHUFPS   $0xDD, Z17, Z16, a      \
	VSHUFPS   $0x88, Z17, Z16, b      \
	VSHUFPS   $0xDD, Z19, Z18, c      \
	VSHUFPS   $0x88, Z19, Z18, d

// SAVE writes the two numbers of each block; the last word is the block's first.
#define SAVE(o, a, b, c, d) \
	VPUNPCKLDQ d, c, Z16         \
	VPUNPCKHDQ d, c, Z17         \
	VPUNPCKLDQ b, a, Z18         \
	VPUNPCKHDQ b, a, Z19         \
	VMOVDQU64  Z16, (o)(DI)      \
	VMOVDQU64  Z17, (o+64)(DI)   \
	VMOVDQU64  Z18, (o)(DX)      \
	VMOVDQU64  Z19, (o+64)(DX)

// func sm4Pairs(rk *[32]uint32, high, low, outHigh, outLow *uint64, n int)
TEXT ·sm4Pairs(SB), NOSPLIT, $0-48
	MOVQ         rk+0(FP), AX
	MOVQ         high+8(FP), SI
	MOVQ         low+16(FP), BX
	MOVQ         outHigh+24(FP), DI
	MOVQ         outLow+32(FP), DX
	MOVQ         n+40(FP), CX
	VPBROADCASTQ boxPre<>(SB), Z28
	VPBROADCASTQ boxPost<>(SB), Z29

pairs:
	LOADWORDS(0, Z0, Z1, Z2, Z3)
	LOADWORDS(128, Z4, Z5, Z6, Z7)
	LOADWORDS(256, Z8, Z9, Z10, Z11)
	LOADWORDS(384, Z12, Z13, Z14, Z15)
	MOVQ AX, R8
	MOVQ $8, R9

rounds:
	STEP(0, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15)
	STEP(1, Z1, Z2, Z3, Z0, Z5, Z6, Z7, Z4, Z9, Z10, Z11, Z8, Z13, Z14, Z15, Z12)
	STEP(2, Z2, Z3, Z0, Z1, Z6, Z7, Z4, Z5, Z10, Z11, Z8, Z9, Z14, Z15, Z12, Z13)
	STEP(3, Z3, Z0, Z1, Z2, Z7, Z4, Z5, Z6, Z11, Z8, Z9, Z10, Z15, Z12, Z13, Z14)
	ADDQ $16, R8
	DECQ R9
	JNZ  rounds

	SAVE(0, Z0, Z1, Z2, Z3)
	SAVE(128, Z4, Z5, Z6, Z7)
	SAVE(256, Z8, Z9, Z10, Z11)
	SAVE(384, Z12, Z13, Z14, Z15)
	ADDQ $512, SI
	ADDQ $512, BX
	ADDQ $512, DI
	ADDQ $512, DX
	DECQ CX
	JNZ  pairs
	VZEROUPPER
	RET

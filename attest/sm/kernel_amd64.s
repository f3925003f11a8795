//go:build !purego

#include "textflag.h"

// SM4 with the S-box by GFNI and GHASH by VPCLMULQDQ, 512 bits wide. No table is indexed by data and no branch depends on
// it. Callers have looked for AVX-512 F, BW, DQ, VL, GFNI and VPCLMULQDQ. Operands are in Go's order: the destination last.

// The S-box of SM4 is A(I(A(x))) with I the inverse in GF(2^8) modulo x^8+x^7+x^6+x^5+x^4+x^2+1. GFNI inverts modulo
// x^8+x^4+x^3+x+1; pre maps A(x) into that field, post maps the inverse back and applies A. The constants are 0x65 and 0xd3.
DATA sm4Pre<>+0(SB)/8, $0x34ac259e022dbc52
GLOBL sm4Pre<>(SB), RODATA|NOPTR, $8
DATA sm4Post<>+0(SB)/8, $0xd72d8e511e6c8b19
GLOBL sm4Post<>(SB), RODATA|NOPTR, $8

// Byte shuffles of 16 bytes: rotations of each word to the left by 8 and 16, bytes of each word reversed, of all reversed.
DATA rot8<>+0(SB)/8, $0x0605040702010003
DATA rot8<>+8(SB)/8, $0x0e0d0c0f0a09080b
GLOBL rot8<>(SB), RODATA|NOPTR, $16
DATA rot16<>+0(SB)/8, $0x0504070601000302
DATA rot16<>+8(SB)/8, $0x0d0c0f0e09080b0a
GLOBL rot16<>(SB), RODATA|NOPTR, $16
DATA swap4<>+0(SB)/8, $0x0405060700010203
DATA swap4<>+8(SB)/8, $0x0c0d0e0f08090a0b
GLOBL swap4<>(SB), RODATA|NOPTR, $16
DATA swap16<>+0(SB)/8, $0x08090a0b0c0d0e0f
DATA swap16<>+8(SB)/8, $0x0001020304050607
GLOBL swap16<>(SB), RODATA|NOPTR, $16

// Which block each lane is, so that the transposition puts the blocks in order: lane 4q+p is block 4p+q.
DATA lanes<>+0(SB)/8, $0x0000000400000000
DATA lanes<>+8(SB)/8, $0x0000000c00000008
DATA lanes<>+16(SB)/8, $0x0000000500000001
DATA lanes<>+24(SB)/8, $0x0000000d00000009
DATA lanes<>+32(SB)/8, $0x0000000600000002
DATA lanes<>+40(SB)/8, $0x0000000e0000000a
DATA lanes<>+48(SB)/8, $0x0000000700000003
DATA lanes<>+56(SB)/8, $0x0000000f0000000b
GLOBL lanes<>(SB), RODATA|NOPTR, $64

DATA sixteen<>+0(SB)/4, $16
GLOBL sixteen<>(SB), RODATA|NOPTR, $4

// The reduction of GHASH modulo x^128+x^7+x^2+x+1, bits reflected.
DATA poly<>+0(SB)/8, $1
DATA poly<>+8(SB)/8, $0xc200000000000000
GLOBL poly<>(SB), RODATA|NOPTR, $16

// Masks that load one, two or three blocks.
DATA masks<>+0(SB)/4, $0x3f0f0300
GLOBL masks<>(SB), RODATA|NOPTR, $4

// FK and CK of the key schedule (GB/T 32907, 7.3).
DATA fk<>+0(SB)/4, $0xa3b1bac6
DATA fk<>+4(SB)/4, $0x56aa3350
DATA fk<>+8(SB)/4, $0x677d9197
DATA fk<>+12(SB)/4, $0xb27022dc
GLOBL fk<>(SB), RODATA|NOPTR, $16
DATA ck<>+0(SB)/4, $0x00070e15
DATA ck<>+4(SB)/4, $0x1c232a31
DATA ck<>+8(SB)/4, $0x383f464d
DATA ck<>+12(SB)/4, $0x545b6269
DATA ck<>+16(SB)/4, $0x70777e85
DATA ck<>+20(SB)/4, $0x8c939aa1
DATA ck<>+24(SB)/4, $0xa8afb6bd
DATA ck<>+28(SB)/4, $0xc4cbd2d9
DATA ck<>+32(SB)/4, $0xe0e7eef5
DATA ck<>+36(SB)/4, $0xfc030a11
DATA ck<>+40(SB)/4, $0x181f262d
DATA ck<>+44(SB)/4, $0x343b4249
DATA ck<>+48(SB)/4, $0x50575e65
DATA ck<>+52(SB)/4, $0x6c737a81
DATA ck<>+56(SB)/4, $0x888f969d
DATA ck<>+60(SB)/4, $0xa4abb2b9
DATA ck<>+64(SB)/4, $0xc0c7ced5
DATA ck<>+68(SB)/4, $0xdce3eaf1
DATA ck<>+72(SB)/4, $0xf8ff060d
DATA ck<>+76(SB)/4, $0x141b2229
DATA ck<>+80(SB)/4, $0x30373e45
DATA ck<>+84(SB)/4, $0x4c535a61
DATA ck<>+88(SB)/4, $0x686f767d
DATA ck<>+92(SB)/4, $0x848b9299
DATA ck<>+96(SB)/4, $0xa0a7aeb5
DATA ck<>+100(SB)/4, $0xbcc3cad1
DATA ck<>+104(SB)/4, $0xd8dfe6ed
DATA ck<>+108(SB)/4, $0xf4fb0209
DATA ck<>+112(SB)/4, $0x10171e25
DATA ck<>+116(SB)/4, $0x2c333a41
DATA ck<>+120(SB)/4, $0x484f565d
DATA ck<>+124(SB)/4, $0x646b7279
GLOBL ck<>(SB), RODATA|NOPTR, $128

// S is the S-box of every byte of x.
#define S(x, pre, post) \
	VGF2P8AFFINEQB    $0x65, pre, x, x  \
	VGF2P8AFFINEINVQB $0xd3, post, x, x

// KEYROUND makes round key i in a and stores it.
#define KEYROUND(i, a, b, c, d) \
	VPXORD.BCST (4*i)(R8), b, X4         \
	VPTERNLOGD $0x96, c, d, X4           \
	S(X4, X6, X7)                        \
	VPROLD     $13, X4, X5               \
	VPTERNLOGD $0x96, X4, X5, a          \
	VPROLD     $23, X4, X4               \
	VPXORD     X4, a, a                  \
	VMOVD      a, (4*i)(DI)

// func sm4Expand(rk *[32]uint32, key *[16]byte)
TEXT ·sm4Expand(SB), NOSPLIT, $0-16
	MOVQ         rk+0(FP), DI
	MOVQ         key+8(FP), SI
	LEAQ         ck<>(SB), R8
	VPBROADCASTQ sm4Pre<>(SB), X6
	VPBROADCASTQ sm4Post<>(SB), X7
	VMOVDQU      (SI), X0
	VPSHUFB      swap4<>(SB), X0, X0
	VPXOR        fk<>(SB), X0, X0
	VPSRLDQ      $4, X0, X1
	VPSRLDQ      $8, X0, X2
	VPSRLDQ      $12, X0, X3
	MOVQ         $8, CX

expand:
	KEYROUND(0, X0, X1, X2, X3)
	KEYROUND(1, X1, X2, X3, X0)
	KEYROUND(2, X2, X3, X0, X1)
	KEYROUND(3, X3, X0, X1, X2)
	ADDQ  $16, R8
	ADDQ  $16, DI
	DECQ  CX
	JNZ   expand
	VPXOR X0, X0, X0
	VPXOR X1, X1, X1
	VPXOR X2, X2, X2
	VPXOR X3, X3, X3
	VPXOR X4, X4, X4
	VPXOR X5, X5, X5
	RET

// T is the mixing of a round, the S-box done: a ^= x ^ x<<<2 ^ x<<<10 ^ x<<<18 ^ x<<<24, the three middle ones as a rotation by 2 of
// x ^ x<<<8 ^ x<<<16. Half of the rotations are shuffles, which have another execution port.
#define T1(x, t, u) \
	VPSHUFB    Z30, x, t        \
	VPSHUFB    Z31, x, u        \
	VPTERNLOGD $0x96, x, t, u   \
	VPROLD     $24, x, t

#define T2(a, x, t, u) \
	VPTERNLOGD $0x96, x, t, a   \
	VPROLD     $2, u, u         \
	VPXORD     u, a, a

// ROUND1 is a round of 16 blocks: a, b, c, d hold a word each of every block.
#define ROUND1(i, a, b, c, d, x, t, u) \
	VPXORD.BCST (4*i)(R8), b, x      \
	VPTERNLOGD  $0x96, c, d, x       \
	S(x, Z28, Z29)                   \
	T1(x, t, u)                      \
	T2(a, x, t, u)

// ROUND4 is a round of 64 blocks. The four groups take turns: the next step of one has to wait for its last.
#define ROUND4(i, a0, b0, c0, d0, a1, b1, c1, d1, a2, b2, c2, d2, a3, b3, c3, d3) \
	VPXORD.BCST (4*i)(R8), b0, Z16   \
	VPXORD.BCST (4*i)(R8), b1, Z19   \
	VPXORD.BCST (4*i)(R8), b2, Z22   \
	VPXORD.BCST (4*i)(R8), b3, Z25   \
	VPTERNLOGD  $0x96, c0, d0, Z16   \
	VPTERNLOGD  $0x96, c1, d1, Z19   \
	VPTERNLOGD  $0x96, c2, d2, Z22   \
	VPTERNLOGD  $0x96, c3, d3, Z25   \
	S(Z16, Z28, Z29)                 \
	S(Z19, Z28, Z29)                 \
	S(Z22, Z28, Z29)                 \
	S(Z25, Z28, Z29)                 \
	T1(Z16, Z17, Z18)                \
	T1(Z19, Z20, Z21)                \
	T1(Z22, Z23, Z24)                \
	T1(Z25, Z26, Z27)                \
	T2(a0, Z16, Z17, Z18)            \
	T2(a1, Z19, Z20, Z21)            \
	T2(a2, Z22, Z23, Z24)            \
	T2(a3, Z25, Z26, Z27)

// TRANSPOSE turns four words of 16 blocks, the first in d, into four times four blocks, the first in a. Z20 is swap4.
#define TRANSPOSE(a, b, c, d) \
	VPUNPCKLDQ  c, d, Z16        \
	VPUNPCKHDQ  c, d, Z17        \
	VPUNPCKLDQ  a, b, Z18        \
	VPUNPCKHDQ  a, b, Z19        \
	VPUNPCKLQDQ Z18, Z16, a      \
	VPUNPCKHQDQ Z18, Z16, b      \
	VPUNPCKLQDQ Z19, Z17, c      \
	VPUNPCKHQDQ Z19, Z17, d      \
	VPSHUFB     Z20, a, a        \
	VPSHUFB     Z20, b, b        \
	VPSHUFB     Z20, c, c        \
	VPSHUFB     Z20, d, d

// OUT adds 16 blocks of key stream to 256 bytes at SI+o and stores them at DI+o. d is the first word. Z20 is swap4.
#define OUT(o, a, b, c, d) \
	TRANSPOSE(a, b, c, d)         \
	VPXORQ      (o+0)(SI), a, a   \
	VPXORQ      (o+64)(SI), b, b  \
	VPXORQ      (o+128)(SI), c, c \
	VPXORQ      (o+192)(SI), d, d \
	VMOVDQU64   a, (o+0)(DI)      \
	VMOVDQU64   b, (o+64)(DI)     \
	VMOVDQU64   c, (o+128)(DI)    \
	VMOVDQU64   d, (o+192)(DI)

#define CONSTANTS \
	VPBROADCASTQ    sm4Pre<>(SB), Z28      \
	VPBROADCASTQ    sm4Post<>(SB), Z29     \
	VBROADCASTI32X4 rot8<>(SB), Z30        \
	VBROADCASTI32X4 rot16<>(SB), Z31

// func sm4CTR64(rk *[32]uint32, iv *[4]uint32, dst, src *byte, n int)
TEXT ·sm4CTR64(SB), NOSPLIT, $0-40
	MOVQ rk+0(FP), AX
	MOVQ iv+8(FP), BX
	MOVQ dst+16(FP), DI
	MOVQ src+24(FP), SI
	MOVQ n+32(FP), CX
	MOVL 12(BX), R9
	CONSTANTS

ctr64:
	VPBROADCASTD (BX), Z0
	VPBROADCASTD 4(BX), Z1
	VPBROADCASTD 8(BX), Z2
	VPBROADCASTD R9, Z3
	VPADDD       lanes<>(SB), Z3, Z3
	VPBROADCASTD sixteen<>(SB), Z16
	VMOVDQA64    Z0, Z4
	VMOVDQA64    Z1, Z5
	VMOVDQA64    Z2, Z6
	VPADDD       Z16, Z3, Z7
	VMOVDQA64    Z0, Z8
	VMOVDQA64    Z1, Z9
	VMOVDQA64    Z2, Z10
	VPADDD       Z16, Z7, Z11
	VMOVDQA64    Z0, Z12
	VMOVDQA64    Z1, Z13
	VMOVDQA64    Z2, Z14
	VPADDD       Z16, Z11, Z15
	ADDL         $64, R9
	MOVQ         AX, R8
	MOVQ         $8, DX

rounds64:
	ROUND4(0, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15)
	ROUND4(1, Z1, Z2, Z3, Z0, Z5, Z6, Z7, Z4, Z9, Z10, Z11, Z8, Z13, Z14, Z15, Z12)
	ROUND4(2, Z2, Z3, Z0, Z1, Z6, Z7, Z4, Z5, Z10, Z11, Z8, Z9, Z14, Z15, Z12, Z13)
	ROUND4(3, Z3, Z0, Z1, Z2, Z7, Z4, Z5, Z6, Z11, Z8, Z9, Z10, Z15, Z12, Z13, Z14)
	ADDQ $16, R8
	DECQ DX
	JNZ  rounds64

	VBROADCASTI32X4 swap4<>(SB), Z20
	OUT(0, Z0, Z1, Z2, Z3)
	OUT(256, Z4, Z5, Z6, Z7)
	OUT(512, Z8, Z9, Z10, Z11)
	OUT(768, Z12, Z13, Z14, Z15)
	ADDQ $1024, SI
	ADDQ $1024, DI
	DECQ CX
	JNZ  ctr64
	VZEROUPPER
	RET

// func sm4CTR16(rk *[32]uint32, iv *[4]uint32, dst, src *byte, n int)
TEXT ·sm4CTR16(SB), NOSPLIT, $0-40
	MOVQ            rk+0(FP), AX
	MOVQ            iv+8(FP), BX
	MOVQ            dst+16(FP), DI
	MOVQ            src+24(FP), SI
	MOVQ            n+32(FP), CX
	MOVL            12(BX), R9
	CONSTANTS
	VBROADCASTI32X4 swap4<>(SB), Z20

ctr16:
	VPBROADCASTD (BX), Z0
	VPBROADCASTD 4(BX), Z1
	VPBROADCASTD 8(BX), Z2
	VPBROADCASTD R9, Z3
	VPADDD       lanes<>(SB), Z3, Z3
	ADDL         $16, R9
	MOVQ         AX, R8
	MOVQ         $8, DX

rounds16:
	ROUND1(0, Z0, Z1, Z2, Z3, Z16, Z17, Z18)
	ROUND1(1, Z1, Z2, Z3, Z0, Z16, Z17, Z18)
	ROUND1(2, Z2, Z3, Z0, Z1, Z16, Z17, Z18)
	ROUND1(3, Z3, Z0, Z1, Z2, Z16, Z17, Z18)
	ADDQ $16, R8
	DECQ DX
	JNZ  rounds16

	OUT(0, Z0, Z1, Z2, Z3)
	ADDQ $256, SI
	ADDQ $256, DI
	DECQ CX
	JNZ  ctr16
	VZEROUPPER
	RET

// LOAD reads 16 blocks at SI+o: the first words of all into a, the last into d. STORE writes the last first, as SM4 ends.
#define LOAD(o, a, b, c, d) \
	VMOVDQU64 (o+0)(SI), d   \
	VMOVDQU64 (o+64)(SI), c  \
	VMOVDQU64 (o+128)(SI), b \
	VMOVDQU64 (o+192)(SI), a \
	TRANSPOSE(a, b, c, d)

#define STORE(o, a, b, c, d) \
	TRANSPOSE(a, b, c, d)    \
	VMOVDQU64 a, (o+0)(DI)   \
	VMOVDQU64 b, (o+64)(DI)  \
	VMOVDQU64 c, (o+128)(DI) \
	VMOVDQU64 d, (o+192)(DI)

// func sm4Blocks64(rk *[32]uint32, dst, src *byte, n int)
TEXT ·sm4Blocks64(SB), NOSPLIT, $0-32
	MOVQ rk+0(FP), AX
	MOVQ dst+8(FP), DI
	MOVQ src+16(FP), SI
	MOVQ n+24(FP), CX
	CONSTANTS

blocks64:
	VBROADCASTI32X4 swap4<>(SB), Z20
	LOAD(0, Z0, Z1, Z2, Z3)
	LOAD(256, Z4, Z5, Z6, Z7)
	LOAD(512, Z8, Z9, Z10, Z11)
	LOAD(768, Z12, Z13, Z14, Z15)
	MOVQ            AX, R8
	MOVQ            $8, DX

rounds64:
	ROUND4(0, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15)
	ROUND4(1, Z1, Z2, Z3, Z0, Z5, Z6, Z7, Z4, Z9, Z10, Z11, Z8, Z13, Z14, Z15, Z12)
	ROUND4(2, Z2, Z3, Z0, Z1, Z6, Z7, Z4, Z5, Z10, Z11, Z8, Z9, Z14, Z15, Z12, Z13)
	ROUND4(3, Z3, Z0, Z1, Z2, Z7, Z4, Z5, Z6, Z11, Z8, Z9, Z10, Z15, Z12, Z13, Z14)
	ADDQ $16, R8
	DECQ DX
	JNZ  rounds64

	VBROADCASTI32X4 swap4<>(SB), Z20
	STORE(0, Z0, Z1, Z2, Z3)
	STORE(256, Z4, Z5, Z6, Z7)
	STORE(512, Z8, Z9, Z10, Z11)
	STORE(768, Z12, Z13, Z14, Z15)
	ADDQ $1024, SI
	ADDQ $1024, DI
	DECQ CX
	JNZ  blocks64
	VZEROUPPER
	RET

// func sm4Blocks16(rk *[32]uint32, dst, src *byte, n int)
TEXT ·sm4Blocks16(SB), NOSPLIT, $0-32
	MOVQ            rk+0(FP), AX
	MOVQ            dst+8(FP), DI
	MOVQ            src+16(FP), SI
	MOVQ            n+24(FP), CX
	CONSTANTS
	VBROADCASTI32X4 swap4<>(SB), Z20

blocks16:
	LOAD(0, Z0, Z1, Z2, Z3)
	MOVQ AX, R8
	MOVQ $8, DX

rounds16:
	ROUND1(0, Z0, Z1, Z2, Z3, Z16, Z17, Z18)
	ROUND1(1, Z1, Z2, Z3, Z0, Z16, Z17, Z18)
	ROUND1(2, Z2, Z3, Z0, Z1, Z16, Z17, Z18)
	ROUND1(3, Z3, Z0, Z1, Z2, Z16, Z17, Z18)
	ADDQ $16, R8
	DECQ DX
	JNZ  rounds16

	STORE(0, Z0, Z1, Z2, Z3)
	ADDQ $256, SI
	ADDQ $256, DI
	DECQ CX
	JNZ  blocks16
	VZEROUPPER
	RET

// REDUCE folds four 256-bit products, lo and hi with mi between them, into hi. Z21 is poly.
#define REDUCE(lo, mi, hi, t) \
	VPCLMULQDQ $0x01, lo, Z21, t   \
	VPSHUFD    $0x4e, lo, lo       \
	VPTERNLOGD $0x96, t, lo, mi    \
	VPCLMULQDQ $0x01, mi, Z21, t   \
	VPSHUFD    $0x4e, mi, mi       \
	VPTERNLOGD $0x96, t, mi, hi

// PRODUCT is x = a*b of four blocks. It uses Z17 to Z19 and Z22.
#define PRODUCT(a, b, x) \
	VPCLMULQDQ $0x00, a, b, Z17   \
	VPCLMULQDQ $0x01, a, b, Z18   \
	VPCLMULQDQ $0x10, a, b, Z22   \
	VPCLMULQDQ $0x11, a, b, Z19   \
	VPXORQ     Z22, Z18, Z18      \
	REDUCE(Z17, Z18, Z19, Z22)    \
	VMOVDQA64  Z19, x

// func ghashPowers(powers *[64][16]byte)
TEXT ·ghashPowers(SB), NOSPLIT, $0-8
	MOVQ            powers+0(FP), DI
	VBROADCASTI32X4 poly<>(SB), Z21
	VMOVDQU64       1008(DI), X0
	PRODUCT(Z0, Z0, Z1)
	VMOVDQU64       X1, 992(DI)
	PRODUCT(Z0, Z1, Z2)
	VMOVDQU64       X2, 976(DI)
	PRODUCT(Z1, Z1, Z3)
	VMOVDQU64       X3, 960(DI)

	// Four at a time by H^4, then by H^8, then sixteen by H^16.
	VINSERTI32X4    $1, X2, Z3, Z4
	VINSERTI32X4    $2, X1, Z4, Z4
	VINSERTI32X4    $3, X0, Z4, Z4
	VSHUFI64X2      $0, Z3, Z3, Z3
	PRODUCT(Z4, Z3, Z5)
	VMOVDQU64       Z5, 896(DI)
	VSHUFI64X2      $0, Z5, Z5, Z3
	PRODUCT(Z4, Z3, Z6)
	VMOVDQU64       Z6, 832(DI)
	PRODUCT(Z5, Z3, Z7)
	VMOVDQU64       Z7, 768(DI)
	VSHUFI64X2      $0, Z7, Z7, Z3
	LEAQ            768(DI), SI

powers:
	PRODUCT(Z4, Z3, Z4)
	PRODUCT(Z5, Z3, Z5)
	PRODUCT(Z6, Z3, Z6)
	PRODUCT(Z7, Z3, Z7)
	SUBQ      $256, SI
	VMOVDQU64 Z4, 192(SI)
	VMOVDQU64 Z5, 128(SI)
	VMOVDQU64 Z6, 64(SI)
	VMOVDQU64 Z7, (SI)
	CMPQ      SI, DI
	JNE       powers
	VZEROUPPER
	RET

// ACCUMULATE adds the products of the four blocks in Z0 by the powers in Z1 to lo, mi and hi in Z17 to Z19.
#define ACCUMULATE \
	VPCLMULQDQ $0x00, Z0, Z1, Z2   \
	VPCLMULQDQ $0x01, Z0, Z1, Z3   \
	VPCLMULQDQ $0x10, Z0, Z1, Z4   \
	VPCLMULQDQ $0x11, Z0, Z1, Z5   \
	VPXORQ     Z2, Z17, Z17        \
	VPTERNLOGD $0x96, Z3, Z4, Z18  \
	VPXORQ     Z5, Z19, Z19

// func ghash(powers *[64][16]byte, y *[16]byte, src *byte, n int)
TEXT ·ghash(SB), NOSPLIT, $0-32
	MOVQ            powers+0(FP), DI
	MOVQ            y+8(FP), DX
	MOVQ            src+16(FP), SI
	MOVQ            n+24(FP), CX
	VBROADCASTI32X4 swap16<>(SB), Z20
	VBROADCASTI32X4 poly<>(SB), Z21
	VMOVDQU64       (DX), X16
	VPSHUFB         X20, X16, X16

// Up to 64 blocks under one reduction: BX of them, from power BX on.
batch:
	MOVQ    $64, BX
	CMPQ    CX, BX
	CMOVQLT CX, BX
	SUBQ    BX, CX
	MOVQ    $64, R8
	SUBQ    BX, R8
	SHLQ    $4, R8
	ADDQ    DI, R8
	VPXORQ  Z17, Z17, Z17
	VPXORQ  Z18, Z18, Z18
	VPXORQ  Z19, Z19, Z19
	SUBQ    $4, BX
	JLT     rest

quad:
	VMOVDQU64 (SI), Z0
	VMOVDQU64 (R8), Z1
	VPSHUFB   Z20, Z0, Z0
	VPXORQ    Z16, Z0, Z0
	VPXORQ    Z16, Z16, Z16
	ACCUMULATE
	ADDQ      $64, SI
	ADDQ      $64, R8
	SUBQ      $4, BX
	JGE       quad

rest:
	ADDQ        $4, BX
	JZ          reduce
	LEAQ        masks<>(SB), R9
	MOVBLZX     (R9)(BX*1), R9
	KMOVB       R9, K1
	VMOVDQU64.Z (SI), K1, Z0
	VMOVDQU64.Z (R8), K1, Z1
	VPSHUFB     Z20, Z0, Z0
	VPXORQ      Z16, Z0, Z0
	ACCUMULATE

reduce:
	REDUCE(Z17, Z18, Z19, Z2)
	VEXTRACTI64X4 $1, Z19, Y2
	VPXORQ        Y2, Y19, Y19
	VEXTRACTI32X4 $1, Y19, X2
	VPXORQ        X2, X19, X16
	TESTQ         CX, CX
	JNZ           batch

	VPSHUFB   X20, X16, X16
	VMOVDQU64 X16, (DX)
	VZEROUPPER
	RET

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
	CONSTANTS

pairs:
	LOADWORDS(0, Z0, Z1, Z2, Z3)
	LOADWORDS(128, Z4, Z5, Z6, Z7)
	LOADWORDS(256, Z8, Z9, Z10, Z11)
	LOADWORDS(384, Z12, Z13, Z14, Z15)
	MOVQ AX, R8
	MOVQ $8, R9

rounds:
	ROUND4(0, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15)
	ROUND4(1, Z1, Z2, Z3, Z0, Z5, Z6, Z7, Z4, Z9, Z10, Z11, Z8, Z13, Z14, Z15, Z12)
	ROUND4(2, Z2, Z3, Z0, Z1, Z6, Z7, Z4, Z5, Z10, Z11, Z8, Z9, Z14, Z15, Z12, Z13)
	ROUND4(3, Z3, Z0, Z1, Z2, Z7, Z4, Z5, Z6, Z11, Z8, Z9, Z10, Z15, Z12, Z13, Z14)
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

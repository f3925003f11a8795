//go:build !purego

#include "textflag.h"

DATA boxPre<>+0(SB)/8, $0x34ac259e022dbc52
GLOBL boxPre<>(SB), RODATA|NOPTR, $8
DATA boxPost<>+0(SB)/8, $0xd72d8e511e6c8b19
GLOBL boxPost<>(SB), RODATA|NOPTR, $8
DATA swap4<>+0(SB)/8, $0x0405060700010203
DATA swap4<>+8(SB)/8, $0x0c0d0e0f08090a0b
GLOBL swap4<>(SB), RODATA|NOPTR, $16
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

// KEYROUND makes round key i in a and stores it.
#define KEYROUND(i, a, b, c, d) \
	VPXORD.BCST (4*i)(R8), b, X4         \
	VPTERNLOGD $0x96, c, d, X4           \
	VGF2P8AFFINEQB    $0x65, X6, X4, X4  \
	VGF2P8AFFINEINVQB $0xd3, X7, X4, X4  \
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
	VPBROADCASTQ boxPre<>(SB), X6
	VPBROADCASTQ boxPost<>(SB), X7
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


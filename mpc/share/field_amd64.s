//go:build !purego

#include "textflag.h"

// Carry-less products (PCLMULQDQ) for GF(2^64). Callers have looked for PCLMULQDQ and SSE4.1.

// The polynomial's lower part, x^4 + x^3 + x + 1.
DATA low<>+0(SB)/8, $0x1b
DATA low<>+8(SB)/8, $0
GLOBL low<>(SB), RODATA|NOPTR, $16

// func innerCarryless(x, y *uint64, n int) (hi, lo uint64)
// The sum of products, not reduced.
TEXT ·innerCarryless(SB), NOSPLIT, $0-40
	MOVQ x+0(FP), SI
	MOVQ y+8(FP), DI
	MOVQ n+16(FP), CX
	PXOR X0, X0
	PXOR X1, X1
four:
	CMPQ CX, $4
	JLT  one
	MOVOU (SI), X2
	MOVOU (DI), X3
	MOVOU 16(SI), X4
	MOVOU 16(DI), X5
	MOVO X2, X6
	MOVO X4, X7
	PCLMULQDQ $0x00, X3, X2
	PCLMULQDQ $0x11, X3, X6
	PCLMULQDQ $0x00, X5, X4
	PCLMULQDQ $0x11, X5, X7
	PXOR X2, X0
	PXOR X6, X1
	PXOR X4, X0
	PXOR X7, X1
	ADDQ $32, SI
	ADDQ $32, DI
	SUBQ $4, CX
	JMP  four
one:
	TESTQ CX, CX
	JZ   done
	MOVQ (SI), X2
	MOVQ (DI), X3
	PCLMULQDQ $0x00, X3, X2
	PXOR X2, X0
	ADDQ $8, SI
	ADDQ $8, DI
	DECQ CX
	JMP  one
done:
	PXOR X1, X0
	MOVQ X0, lo+32(FP)
	PEXTRQ $1, X0, AX
	MOVQ AX, hi+24(FP)
	RET

// func mixCarryless(out, v *uint64, c uint64, n int)
// out += c·v. What is above place 63 is multiplied by the polynomial's lower part, twice: the second time at most four places are left.
TEXT ·mixCarryless(SB), NOSPLIT, $0-32
	MOVQ out+0(FP), DI
	MOVQ v+8(FP), SI
	MOVQ c+16(FP), X8
	MOVQ n+24(FP), CX
	MOVOU low<>(SB), X9
loop:
	TESTQ CX, CX
	JZ   end
	MOVQ (SI), X0
	PCLMULQDQ $0x00, X8, X0
	MOVO X0, X1
	PCLMULQDQ $0x01, X9, X1
	MOVO X1, X2
	PCLMULQDQ $0x01, X9, X2
	MOVQ (DI), X3
	PXOR X1, X0
	PXOR X2, X3
	PXOR X0, X3
	MOVQ X3, (DI)
	ADDQ $8, SI
	ADDQ $8, DI
	DECQ CX
	JMP  loop
end:
	RET

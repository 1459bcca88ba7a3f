/*
 * The guest of the hand-over test: flat 64-bit code that is copied to GUEST_CODE (handover.h), and
 * whose computation also runs natively to tell the expected result.
 *
 * Everything lives in registers while it computes: general, x87, SSE and AVX registers, rounding
 * modes, the carry flag across iterations. A processor moved in the middle must lose none of it.
 */
#include "handover.h"

	.text
	.balign 16
	.globl handover_guest_start, handover_guest_end, handover_compute
	.globl handover_guest_timer, handover_guest_deadline, handover_guest_fault

handover_guest_start:
	/* rdi: struct handover_shared */
	fninit
	mov	%rdi, %rbx
	mov	$MSR_KVM_SYSTEM_TIME, %ecx
	lea	(SHARED_PVCLOCK + 1)(%rbx), %eax
	xor	%edx, %edx
	wrmsr
	mov	$STAGE_STARTED, %eax
	call	mark

	lea	SHARED_BUFFER(%rbx), %rdi
	mov	SHARED_ROUNDS(%rbx), %rsi
	lea	SHARED_PROGRESS(%rbx), %rdx
	mov	SHARED_FEATURES(%rbx), %rcx
	call	handover_compute
	mov	%rax, SHARED_HASH(%rbx)
	mov	$STAGE_COMPUTED, %eax
	call	mark

	/* The xAPIC's timer, periodic. */
	mov	$APIC_PAGE, %r12
	movl	$0x1ff, APIC_SVR(%r12)
	movl	$APIC_DIVIDE_BY_1, APIC_TIMER_DIVIDE(%r12)
	movl	$(APIC_TIMER_PERIODIC | VECTOR_TIMER), APIC_LVT_TIMER(%r12)
	mov	SHARED_PERIOD(%rbx), %eax
	mov	%eax, APIC_TIMER_INITIAL(%r12)
1:	sti
	hlt
	cli
	cmpq	$TICKS, SHARED_TICKS(%rbx)
	jb	1b
	movl	$0, APIC_TIMER_INITIAL(%r12)
	call	drain
	mov	$STAGE_TICKED, %eax
	call	mark

	/* One shot after the other: a lost one would be waited for forever. */
	movl	$VECTOR_TIMER, APIC_LVT_TIMER(%r12)
	mov	$ONE_SHOTS, %r14d
1:	mov	SHARED_TICKS(%rbx), %r13
	mov	SHARED_PERIOD(%rbx), %eax
	mov	%eax, APIC_TIMER_INITIAL(%r12)
2:	sti
	hlt
	cli
	cmp	%r13, SHARED_TICKS(%rbx)
	je	2b
	dec	%r14d
	jnz	1b
	movl	$0, APIC_TIMER_INITIAL(%r12)
	call	drain

	/* The same APIC in x2APIC mode, its timer by TSC deadline. */
	mov	$MSR_APIC_BASE, %ecx
	rdmsr
	or	$APIC_BASE_X2APIC_MODE, %eax
	wrmsr
	mov	$(MSR_X2APIC + (APIC_LVT_TIMER >> 4)), %ecx
	mov	$(APIC_TIMER_DEADLINE | VECTOR_DEADLINE), %eax
	xor	%edx, %edx
	wrmsr
	call	arm
1:	sti
	hlt
	cli
	cmpq	$DEADLINES, SHARED_DEADLINES(%rbx)
	jb	1b
	mov	$STAGE_DONE, %eax
	call	mark
	mov	$STAGE_END, %eax
	out	%eax, $HANDOVER_PORT
1:	hlt
	jmp	1b

/* Tells the host the stage in eax and the time-stamp counter of now; it takes the promptest. */
mark:
	mov	%eax, %r8d
	mov	$MARKS, %r9d
1:	rdtsc
	shl	$32, %rdx
	or	%rdx, %rax
	mov	%rax, SHARED_TSC(%rbx)
	mov	%r8d, %eax
	out	%eax, $HANDOVER_PORT
	dec	%r9d
	jnz	1b
	ret

/* Takes a tick that was requested before its timer was stopped. */
drain:
	sti
	nop
	cli
	ret

/* Arms the next deadline. */
arm:
	rdtsc
	shl	$32, %rdx
	or	%rdx, %rax
	add	SHARED_DEADLINE_STEP(%rbx), %rax
	mov	%rax, SHARED_NEXT(%rbx)
	mov	%rax, %rdx
	shr	$32, %rdx
	mov	$MSR_TSC_DEADLINE, %ecx
	wrmsr
	ret

handover_guest_timer:
	incq	SHARED_TICKS(%rbx)
	movl	$0, APIC_EOI(%r12)
	iretq

handover_guest_deadline:
	push	%rax
	push	%rcx
	push	%rdx
	rdtsc
	shl	$32, %rdx
	or	%rdx, %rax
	add	SHARED_EARLINESS(%rbx), %rax
	cmp	SHARED_NEXT(%rbx), %rax
	jae	1f
	incq	SHARED_EARLY(%rbx)
1:	incq	SHARED_DEADLINES(%rbx)
	cmpq	$DEADLINES, SHARED_DEADLINES(%rbx)
	jae	2f
	call	arm
2:	mov	$(MSR_X2APIC + (APIC_EOI >> 4)), %ecx
	xor	%eax, %eax
	xor	%edx, %edx
	wrmsr
	pop	%rdx
	pop	%rcx
	pop	%rax
	iretq

handover_guest_fault:
	mov	$STAGE_FAULT, %eax
	out	%eax, $HANDOVER_PORT
	hlt

/* uint64_t handover_compute(void *buffer, uint64_t rounds, uint64_t *left, uint64_t features) */
handover_compute:
	push	%rbp
	mov	%rsp, %rbp
	push	%rbx
	push	%r12
	sub	$32, %rsp
	stmxcsr	-48(%rbp)
	fnstcw	-44(%rbp)
	movl	$0x7f80, -40(%rbp)	/* round toward zero, all masked */
	ldmxcsr	-40(%rbp)
	movw	$0x077f, -40(%rbp)	/* 64-bit precision, round down, all masked */
	fldcw	-40(%rbp)
	mov	%rcx, %r11
	mov	$0x9e3779b97f4a7c15, %r8
	mov	$0xcbf29ce484222325, %rax
	mov	%rax, %r12
	xor	%ebx, %ebx
	fldpi
	fldl2e
	fld1
	pxor	%xmm0, %xmm0
	movq	%r8, %xmm8
	movq	%rax, %xmm15
	pxor	%xmm9, %xmm9
	test	$FEATURE_AVX, %r11
	jz	1f
	vpxor	%ymm7, %ymm7, %ymm7
	vmovq	%r8, %xmm6
	vpermq	$0, %ymm6, %ymm6
1:	clc

	.balign 16
.Lround:
	/* The carry travels from round to round, half of the way on the stack. */
	movzwl	%bx, %r9d
	lea	8(%rbx), %rbx
	adc	(%rdi, %r9), %rax
	pushf
	imul	%r8, %rax
		rol	$23, %rax
	xor	%rax, (%rdi, %r9)
	xor	%rax, %r12
	/* SSE: doubles and integers. */
	mov	%rax, %r10
	shr	$12, %r10
	cvtsi2sd %r10, %xmm1
	sqrtsd	%xmm1, %xmm1
	addsd	%xmm1, %xmm0
	movq	%rax, %xmm2
	paddq	%xmm2, %xmm8
	punpcklqdq %xmm8, %xmm15
	pxor	%xmm15, %xmm9
	psrlq	$1, %xmm15
	/* x87: st0 *= 1 + tiny, st1 += st0, rotate the stack. */
	movl	%r10d, -36(%rbp)
	fiaddl	-36(%rbp)
	fmul	%st(2), %st
	fxch	%st(1)
	fadd	%st(1), %st
	fld	%st(0)
	fxtract
	fstp	%st(2)
	fstp	%st(0)
	/* AVX: the upper halves. */
	test	$FEATURE_AVX, %r11
	jz	1f
	vmovq	%rax, %xmm5
	vpermq	$0x11, %ymm5, %ymm5
	vpaddq	%ymm5, %ymm6, %ymm6
	vpxor	%ymm6, %ymm7, %ymm7
1:	popf
	mov	%rsi, (%rdx)
	dec	%rsi
	jnz	.Lround
	movq	$0, (%rdx)

	/* Folds all of it into the result. */
	adc	%r12, %rax
	movq	%xmm0, %r9
	xor	%r9, %rax
	imul	%r8, %rax
	movq	%xmm9, %r9
	xor	%r9, %rax
	imul	%r8, %rax
	punpckhqdq %xmm9, %xmm9
	movq	%xmm9, %r9
	xor	%r9, %rax
	imul	%r8, %rax
	mov	$3, %ecx
2:	fstpt	-32(%rbp)
	xor	-32(%rbp), %rax
	imul	%r8, %rax
	movzwl	-24(%rbp), %r9d
	xor	%r9, %rax
	imul	%r8, %rax
	dec	%ecx
	jnz	2b
	test	$FEATURE_AVX, %r11
	jz	3f
	vextracti128 $1, %ymm7, %xmm5
	vmovq	%xmm5, %r9
	vzeroupper
	xor	%r9, %rax
	imul	%r8, %rax
3:	stmxcsr	-40(%rbp)
	mov	-40(%rbp), %r9d
	xor	%r9, %rax
	fnstcw	-40(%rbp)
	movzwl	-40(%rbp), %r9d
	xor	%r9, %rax
	imul	%r8, %rax
	ldmxcsr	-48(%rbp)
	fldcw	-44(%rbp)
	add	$32, %rsp
	pop	%r12
	pop	%rbx
	pop	%rbp
	ret
handover_guest_end:

	.section .note.GNU-stack, "", @progbits

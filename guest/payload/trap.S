/* Entry of every vector, and attempts that survive exceptions. */
	.text
	.macro stub number
	.align 16
	.if (\number == 8) || (\number >= 10 && \number <= 14) || (\number == 17) || (\number == 21)
	.else
	push $0
	.endif
	push $\number
	jmp trap_common
	.endm

	.altmacro
	.globl trap_stubs
	.align 16
trap_stubs:
	.set number, 0
	.rept 256
	stub %number
	.set number, number + 1
	.endr

#ifdef __x86_64__
trap_common:
	push %rax
	push %rcx
	push %rdx
	push %rbx
	push %rbp
	push %rsi
	push %rdi
	push %r8
	push %r9
	push %r10
	push %r11
	push %r12
	push %r13
	push %r14
	push %r15
	cld
	mov %rsp, %rdi
	mov %rsp, %rbp
	and $-16, %rsp
	call trap_enter
	mov %rbp, %rsp
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %r11
	pop %r10
	pop %r9
	pop %r8
	pop %rdi
	pop %rsi
	pop %rbp
	pop %rbx
	pop %rdx
	pop %rcx
	pop %rax
	add $16, %rsp
	iretq

	/* int attempt(function, argument) */
	.globl attempt
attempt:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	pushfq
	push attempt_stack
	mov %rsp, attempt_stack
	mov %rdi, %rax
	mov %rsi, %rdi
	sub $8, %rsp
	call *%rax
	add $8, %rsp
	mov $-1, %eax
attempt_end:
	pop attempt_stack
	popfq
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret

	/* attempt_resume(vector): from trap_enter; ends the innermost attempt. */
	.globl attempt_resume
attempt_resume:
	mov %edi, %eax
	mov $0x10, %ecx
	mov %ecx, %ss
	mov %ecx, %ds
	mov %ecx, %es
	mov attempt_stack, %rsp
	jmp attempt_end

	/* iret_to(struct { rip, cs, rflags, rsp, ss } *, argument) */
	.globl iret_to
iret_to:
	push 32(%rdi)
	push 24(%rdi)
	push 16(%rdi)
	push 8(%rdi)
	push (%rdi)
	mov %rsi, %rdi
	iretq
#else
trap_common:
	pusha
	push %ds
	push %es
	push %fs
	push %gs
	cld
	mov $0x10, %eax
	mov %eax, %ds
	mov %eax, %es
	push %esp
	call trap_enter
	add $4, %esp
	pop %gs
	pop %fs
	pop %es
	pop %ds
	popa
	add $8, %esp
	iret

	.globl attempt
attempt:
	push %ebx
	push %ebp
	push %esi
	push %edi
	pushf
	push attempt_stack
	mov 28(%esp), %eax
	mov 32(%esp), %ecx
	mov %esp, attempt_stack
	push %ecx
	call *%eax
	add $4, %esp
	mov $-1, %eax
attempt_end:
	mov $0x10, %ecx
	mov %ecx, %ds
	mov %ecx, %es
	pop attempt_stack
	popf
	pop %edi
	pop %esi
	pop %ebp
	pop %ebx
	ret

	.globl attempt_resume
attempt_resume:
	mov 4(%esp), %eax
	mov $0x10, %ecx
	mov %ecx, %ss
	mov attempt_stack, %esp
	xor %ecx, %ecx
	mov %ecx, %fs
	mov %ecx, %gs
	jmp attempt_end

	/* iret_to(struct { eip, cs, eflags, esp, ss } *, argument): the argument is on the stack */
	.globl iret_to
iret_to:
	mov 4(%esp), %eax
	push 16(%eax)
	push 12(%eax)
	push 8(%eax)
	push 4(%eax)
	push (%eax)
	mov $0x23, %eax
	mov %eax, %ds
	mov %eax, %es
	iret
#endif

	.bss
	.align 8
	.globl attempt_stack
attempt_stack: .skip 8
	.section .note.GNU-stack, "", @progbits

/* The way to real mode and back, and what is tried there. */
#define CODE16 0x48
#define DATA16 0x50
#define RESULT(n) (0x6000 + (n))

	.text
	.code32
	.globl run_real_mode
run_real_mode:
	pusha
	mov %esp, saved_esp
	sgdt saved_gdt
	movw $0x1234, 0x100010
	ljmp $CODE16, $(enter_real - real_code)

	.globl back
back:
	mov $0x10, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	xor %eax, %eax
	mov %eax, %fs
	mov %eax, %gs
	mov saved_esp, %esp
	popa
	ret

	.globl real_code, real_code_end
	.code16
real_code:
	.skip 4
enter_real:
	mov $DATA16, %ax
	mov %ax, %ds
	mov %ax, %es
	mov %ax, %ss
	mov %ax, %gs
	mov $0x10, %ax		/* flat: FS keeps its limit */
	mov %ax, %fs
	mov %cr0, %eax
	and $~1, %eax
	mov %eax, %cr0
	ljmp $0x700, $(1f - real_code)
1:	xor %ax, %ax
	mov %ax, %ds
	mov %ax, %es
	mov %ax, %ss
	mov $0x5000, %sp
	lidtl %cs:(real_idt - real_code)

	smsw %ax
	mov %ax, RESULT(14)
	mov $0x12345678, %eax
	add $0x11111111, %eax
	mov %eax, RESULT(16)

	/* INT 0x20 through the table at 0 */
	movw $(on_int - real_code), 0x20 * 4
	movw $0x700, 0x20 * 4 + 2
	sti
	mov %sp, %bp
	int $0x20
after_int:
	cli

	/* a word at ds:ffff */
	movw $(on_limit - real_code), 13 * 4
	movw $0x700, 13 * 4 + 2
	mov %sp, %bp
	mov $0xffff, %bx
	mov (%bx), %ax
after_limit:

	/* divide by zero: IP is that of DIV */
	movw $(on_divide - real_code), 0
	movw $0x700, 2
	xor %cx, %cx
the_divide:
	div %cx
	nop

	/* "unreal" */
	mov $0x180000, %esi
	mov %fs:(%esi), %ax
	mov %ax, RESULT(10)

	mov %sp, %ax
	push %sp
	pop %bx
	sub %bx, %ax
	mov %ax, RESULT(24)

	push $0x3002
	popf
	pushf
	pop %ax
	and $0x3000, %ax
	mov %ax, RESULT(26)
	push $2
	popf

	mov $0xffff, %ax
	mov %ax, %es
	mov %es:0x20, %ax
	mov %ax, RESULT(2)

	movw $0x5ea1, RESULT(0)
	mov %cr0, %eax
	or $1, %eax
	mov %eax, %cr0
	ljmpl $0x08, $back

on_int:
	pushf
	pop %ax
	mov %ax, RESULT(4)
	mov %bp, %ax
	sub %sp, %ax
	mov %ax, RESULT(8)
	mov %sp, %bx
	mov (%bx), %ax
	sub $(after_int - real_code), %ax
	setz %al
	xor %ah, %ah
	mov %ax, RESULT(6)
	iret

on_limit:
	movw $13, RESULT(12)
	mov %sp, %bx
	movw $(after_limit - real_code), (%bx)
	iret

on_divide:
	mov %sp, %bx
	cmpw $(the_divide - real_code), (%bx)
	jne 1f
	movw $0, RESULT(22)
	jmp 2f
1:	movw $0xffff, RESULT(22)
2:	addw $2, (%bx)
	iret

	.align 4
real_idt:
	.word 0x3ff
	.long 0
real_code_end:

	.bss
	.align 4
saved_esp: .skip 4
saved_gdt: .skip 8
	.section .note.GNU-stack, "", @progbits

/* Where the second processor starts: copied to 0x8000. */
#define START 0x8000

	.text
	.globl smp_trampoline, smp_trampoline_end
	.code16
smp_trampoline:
	cli
	xor %ax, %ax
	mov %ax, %ds
	lgdtl START + (trampoline_gdt_pointer - smp_trampoline)
	mov %cr0, %eax
	or $1, %eax
	mov %eax, %cr0
	ljmpl $0x08, $smp_protected
	.align 8
trampoline_gdt:
	.quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
trampoline_gdt_pointer:
	.word 23
	.long START + (trampoline_gdt - smp_trampoline)
smp_trampoline_end:

	.code32
smp_protected:
	mov $0x10, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov $smp_stack_end, %esp
#ifdef __x86_64__
	call enter_long
	.code64
#endif
	call smp_main
1:	hlt
	jmp 1b

	.bss
	.align 16
	.skip 16384
smp_stack_end:
	.section .note.GNU-stack, "", @progbits

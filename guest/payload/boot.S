/* Multiboot entry (Multiboot Specification 0.6.96, 3.2), and long mode for 64-bit payloads. */
#define CR0_PG  0x80000000
#define CR4_PAE 0x20
#define EFER    0xc0000080
#define EFER_LME_NXE 0x900

	.section .multiboot, "ax"
	.align 4
	.long 0x1badb002, 0, -0x1badb002

	.text
	.code32
	.globl start
start:
	cli
	cld
	mov $boot_stack_end, %esp
	mov %eax, multiboot_magic
	mov %ebx, multiboot_info
#ifndef __x86_64__
	call payload_main
#else
	/* Page directories: 4 GiB one to one in 2 MiB pages, the third of which ring 3 may use. */
	mov $page_directories, %edi
	mov $0x83, %eax
	mov $2048, %ecx
1:	mov %eax, (%edi)
	movl $0, 4(%edi)
	add $0x200000, %eax
	add $8, %edi
	loop 1b
	orb $4, page_directories + 2 * 8
	mov $page_directories + 7, %eax
	mov $page_pointers, %edi
	mov $4, %ecx
2:	mov %eax, (%edi)
	add $0x1000, %eax
	add $8, %edi
	loop 2b
	movl $page_pointers + 7, page_root
	call enter_long
	.code64
	call payload_main
	.code32

	/* Returns in 64-bit code; paging with page_root. Processors start through it, too. */
	.globl enter_long
enter_long:
	pop %ebx
	mov $CR4_PAE, %eax
	mov %eax, %cr4
	mov $page_root, %eax
	mov %eax, %cr3
	mov $EFER, %ecx
	mov $EFER_LME_NXE, %eax
	xor %edx, %edx
	wrmsr
	mov %cr0, %eax
	or $CR0_PG, %eax
	mov %eax, %cr0
	lgdt boot_gdt_pointer
	ljmp $0x08, $3f
	.code64
3:	mov $0x10, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	xor %eax, %eax
	mov %eax, %fs
	mov %eax, %gs
	mov %ebx, %ebx
	jmp *%rbx

	.data
	.align 8
boot_gdt:
	.quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
	.globl boot_gdt_pointer
boot_gdt_pointer:
	.word 23
	.long boot_gdt
#endif

	.data
	.globl multiboot_magic, multiboot_info
multiboot_magic: .long 0
multiboot_info: .long 0

	.bss
	.align 4096
	.globl page_root
page_root: .skip 4096
page_pointers: .skip 4096
page_directories: .skip 4 * 4096
boot_stack: .skip 65536
boot_stack_end:
	.section .note.GNU-stack, "", @progbits

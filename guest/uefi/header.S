/*
 * The headers of a PE32+ image (UEFI 2.9, 2.1.1; Microsoft's PE format): one section, no
 * relocations, which position-independent code does not need.
 */
	.section .header, "a"
image:
	.ascii "MZ"
	.skip 58
	.long pe - image
pe:
	.ascii "PE\0\0"
	.word 0x8664 /* AMD64 */
	.word 1      /* sections */
	.long 0, 0, 0
	.word sections - optional
	.word 0x22 /* executable, large addresses */
optional:
	.word 0x20b /* PE32+ */
	.word 0
	.long text_size
	.long 0, 0
	.long efi_main - image
	.long text_begin - image
	.quad 0      /* base */
	.long 0x1000 /* alignment in memory, and in the file */
	.long 0x200
	.long 0, 0, 0, 0
	.long image_end - image
	.long text_begin - image
	.long 0
	.word 10 /* an EFI application */
	.word 0
	.quad 0, 0, 0, 0
	.long 0
	.long 6 /* data directories, all empty */
	.skip 48
sections:
	.ascii ".text\0\0\0"
	.long text_size
	.long text_begin - image
	.long text_size
	.long text_begin - image
	.long 0, 0
	.long 0
	.long 0xe0000020 /* code; read, write, execute */

	.section .note.GNU-stack, "", @progbits

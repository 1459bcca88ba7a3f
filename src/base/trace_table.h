/*
 * The trace table: every category and every event that `atoll run --trace` knows.
 *
 * To add an event, add a line here and `trace(name, field, ...)` where it happens. A category is
 * X(name, meaning), an event X(category, name, number of fields, format, meaning). The format names
 * each field and says how it is printed: %x hexadecimal, %u decimal, %s a text (trace_text).
 */
#ifndef BASE_TRACE_TABLE_H
#define BASE_TRACE_TABLE_H

#define TRACE_CATEGORIES(X)                                                                        \
	X(exits, "translated code was left, and why")                                              \
	X(blocks, "guest code was translated, written or dropped")                                 \
	X(native, "user code ran natively, from where to where, and what ended it")                \
	X(interrupts, "interrupts and NMI that a processor takes")                                 \
	X(faults, "exceptions that a processor delivers")                                          \
	X(io, "accesses to ports and to devices' memory")                                          \
	X(tlb, "entries made and flushed in the software engine's TLB")                            \
	X(requests, "what the guest asks of the machine: reset, power off")                        \
	X(firmware, "what firmware prints on its debug console")                                   \
	X(guest, "what the guest did against a device's specification, unlimited in rate")

#define TRACE_EVENTS(X)                                                                            \
	X(exits, exit, 2, "rip=%x why=%s", "translated code was left before this instruction")     \
	X(blocks, block_translated, 4, "rip=%x physical=%x insns=%u bytes=%u",                     \
		"a block was translated")                                                          \
	X(blocks, page_killed, 2, "linear=%x physical=%x",                                         \
		"code was written: the page's blocks are dead")                                    \
	X(blocks, cache_flushed, 2, "blocks=%u bytes=%u", "the code cache was emptied")            \
	X(native, native_run, 4, "from=%x rip=%x ns=%u why=%s", "a native run, switches included") \
	X(interrupts, interrupt, 2, "vector=%x rip=%x", "an external interrupt is delivered")      \
	X(interrupts, nmi, 1, "rip=%x", "an NMI is delivered")                                     \
	X(interrupts, smi, 2, "smbase=%x rip=%x", "system management mode is entered")             \
	X(interrupts, rsm, 2, "smbase=%x rip=%x", "system management mode is left")                \
	X(faults, fault, 4, "vector=%u error=%x rip=%x cr2=%x", "an exception is delivered")       \
	X(faults, triple_fault, 1, "rip=%x", "the processor shuts down")                           \
	X(io, port_read, 4, "device=%s port=%x size=%u value=%x", "IN")                            \
	X(io, port_write, 4, "device=%s port=%x size=%u value=%x", "OUT")                          \
	X(io, mmio_read, 4, "device=%s address=%x size=%u value=%x",                               \
		"a load from a device's memory")                                                   \
	X(io, mmio_write, 4, "device=%s address=%x size=%u value=%x",                              \
		"a store to a device's memory")                                                    \
	X(tlb, tlb_fill, 3, "linear=%x physical=%x set=%u", "a translation was walked for")        \
	X(tlb, tlb_flush, 1, "keep_global=%u", "CR3, CR4 or a mode changed")                       \
	X(tlb, tlb_flush_page, 1, "linear=%x", "INVLPG")                                           \
	X(requests, machine_request, 1, "request=%s", "the guest asks for something")              \
	X(firmware, firmware_line, 1, "text=%s", "a line")                                         \
	X(guest, guest_error, 1, "text=%s", "what --quiet hides, and what the rate limit drops")

#endif

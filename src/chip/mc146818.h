/*
 * MC146818 real-time clock with the 128 bytes of CMOS memory of a PC.
 */
#ifndef CHIP_MC146818_H
#define CHIP_MC146818_H

#include "machine/clock.h"
#include "machine/device.h"
#include "machine/irq_line.h"

#define MC146818_NR_BYTES 128

/*
 * While it runs, the calendar is a function of guest time: the second number `index` (see
 * mc146818.c) is calendar second base_s + index. While it is stopped, its registers are plain bytes
 * in `cmos`.
 */
struct mc146818_state {
	uint64_t base_s;       /* seconds since the start of the year 0 */
	uint64_t seen_index;   /* seconds whose flags are in `flags` already */
	uint64_t seen_tick;    /* the same for the periodic flag, in cycles of 32768 Hz */
	uint32_t phase_ns;     /* when in a second of guest time the calendar's second changes */
	uint8_t index;         /* as written, with the NMI mask */
	uint8_t flags;         /* of register C */
	uint8_t weekday_shift; /* what a guest set its weekday off the calendar's */
	uint8_t reserved;
	uint8_t cmos[MC146818_NR_BYTES];
};

struct mc146818 {
	struct mc146818_state state;
	struct clock *clock;
	struct irq_line interrupt;
	struct timer timer;
};

extern const struct device_type mc146818_type;

/* `wall_clock_ns` is UTC since 1970 now; the clock runs on guest time from there. */
void mc146818_init(
	struct mc146818 *chip, struct clock *clock, struct irq_line interrupt, ns_t wall_clock_ns);

uint8_t mc146818_read(struct mc146818 *chip, unsigned reg);
void mc146818_write(struct mc146818 *chip, unsigned reg, uint8_t value);

#endif

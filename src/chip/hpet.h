/*
 * High precision event timers: a counter of 10 ns and three comparators.
 */
#ifndef CHIP_HPET_H
#define CHIP_HPET_H

#include "machine/clock.h"
#include "machine/device.h"
#include "machine/irq_line.h"

#define HPET_NR_TIMERS 3
#define HPET_MMIO_SIZE 0x400
#define HPET_TICK_NS   10

struct hpet_timer_state {
	uint64_t configuration; /* what the guest has written */
	uint64_t comparator;
	uint64_t period;
};

struct hpet_state {
	uint64_t counter; /* at `since_ns`, or while it stands still */
	int64_t since_ns; /* guest time */
	uint32_t status;
	uint8_t configuration;
	uint8_t reserved[3];
	struct hpet_timer_state timers[HPET_NR_TIMERS];
};

struct hpet_wiring {
	uint32_t routes; /* inputs of the IOAPIC that a timer may have */
	/* An input of the IOAPIC; instead of them, with legacy replacement, timer 0's and 1's. */
	void (*set)(void *context, unsigned input, bool level);
	void *context;
	struct irq_line legacy[2];
	struct irq_line replaces; /* legacy replacement is on: the PIT and the RTC are cut off */
};

struct hpet;

struct hpet_timer {
	struct hpet *chip;
	unsigned index;
	struct timer timer;
	uint64_t due;  /* the counter's value for which it is armed, */
	bool is_match; /* where the comparator matches */
	ns_t not_before_ns;
	bool level;     /* what it drives, */
	unsigned input; /* and where; 32 and 33 are the legacy lines */
};

struct hpet {
	struct hpet_state state;
	struct clock *clock;
	struct hpet_wiring wiring;
	struct hpet_timer timers[HPET_NR_TIMERS];
};

extern const struct device_type hpet_type;

void hpet_init(struct hpet *chip, struct clock *clock, const struct hpet_wiring *wiring);

/* `size` is 4 or 8, and `offset` a multiple of it; others read 0 and write nothing. */
uint64_t hpet_read(struct hpet *chip, uint32_t offset, unsigned size);
void hpet_write(struct hpet *chip, uint32_t offset, unsigned size, uint64_t value);

#endif

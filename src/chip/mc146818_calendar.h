/*
 * The calendar of the MC146818: seconds since the start of the year 0 (proleptic Gregorian) to and
 * from civil time.
 */
#ifndef CHIP_MC146818_CALENDAR_H
#define CHIP_MC146818_CALENDAR_H

#include "base/types.h"

#define CALENDAR_1970_S UINT64_C(62167219200)
#define CALENDAR_DAY_S  86400

struct civil_time {
	unsigned year;    /* with century */
	unsigned month;   /* 1 to 12 */
	unsigned day;     /* 1 to 31 */
	unsigned weekday; /* 0 is Sunday */
	unsigned hour, minute, second;
};

/* Fields past their range carry over; a month is clamped, a day of 0 is the first; weekday is not
 * looked at. */
uint64_t calendar_seconds(const struct civil_time *time);
struct civil_time calendar_civil(uint64_t seconds);

#endif

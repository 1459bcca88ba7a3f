/*
 * The Gregorian calendar. Days are counted in years that begin in March, so that the leap day comes
 * last: a 400-year cycle has 146097 days.
 */
#include "chip/mc146818_calendar.h"

#define DAYS_400_YEARS 146097
#define DAYS_100_YEARS 36524
#define DAYS_4_YEARS   1461
#define DAYS_YEAR      365
#define DAYS_TO_MARCH  60 /* of the year 0, a leap year */

/* Days since 1 March of the year 0; January and February belong to the year before. */
static uint64_t days_from_march(uint64_t year, unsigned march_month, unsigned day)
{
	return year * DAYS_YEAR + year / 4 - year / 100 + year / 400 + (153 * march_month + 2) / 5 +
	       day - 1;
}

uint64_t calendar_seconds(const struct civil_time *time)
{
	unsigned month = time->month < 1 ? 1 : time->month > 12 ? 12 : time->month;
	unsigned day = time->day < 1 ? 1 : time->day;
	/* A cycle more keeps January of the year 0 positive. */
	uint64_t march_year = (uint64_t)time->year + 400 - (month <= 2);
	uint64_t days =
		days_from_march(march_year, (month + 9) % 12, day) + DAYS_TO_MARCH - DAYS_400_YEARS;

	return days * CALENDAR_DAY_S + time->hour * 3600 + time->minute * 60 + time->second;
}

struct civil_time calendar_civil(uint64_t seconds)
{
	uint64_t total = seconds / CALENDAR_DAY_S;
	uint64_t days = total + DAYS_400_YEARS - DAYS_TO_MARCH;
	uint64_t cycle = days / DAYS_400_YEARS;
	unsigned rest = days % DAYS_400_YEARS;
	unsigned centuries = rest / DAYS_100_YEARS;
	unsigned fours, years, march_month, in_day = seconds % CALENDAR_DAY_S;
	struct civil_time time;

	if (centuries > 3)
		centuries = 3;
	rest -= centuries * DAYS_100_YEARS;
	fours = rest / DAYS_4_YEARS;
	rest %= DAYS_4_YEARS;
	years = rest / DAYS_YEAR;
	if (years > 3)
		years = 3;
	rest -= years * DAYS_YEAR;
	march_month = (5 * rest + 2) / 153;

	time.day = rest - (153 * march_month + 2) / 5 + 1;
	time.month = march_month < 10 ? march_month + 3 : march_month - 9;
	time.year = (unsigned)(cycle * 400 - 400) + centuries * 100 + fours * 4 + years +
		    (time.month <= 2);
	time.weekday = (unsigned)((total + 6) % 7); /* 1 January of the year 0 was a Saturday */
	time.hour = in_day / 3600;
	time.minute = in_day / 60 % 60;
	time.second = in_day % 60;
	return time;
}

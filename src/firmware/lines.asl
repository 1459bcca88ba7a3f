/*
 * Serial lines and the parallel port that a board may have besides COM1: an SSDT for each, by WITH_COM2 and
 * the like. The numbers are those of src/board/at.h.
 */
#ifdef WITH_COM2
#define NAME COM2
#define NUMBER 2
#define PORT 0x02F8
#define LINE 3
#endif
#ifdef WITH_COM3
#define NAME COM3
#define NUMBER 3
#define PORT 0x03E8
#define LINE 4
#endif
#ifdef WITH_COM4
#define NAME COM4
#define NUMBER 4
#define PORT 0x02E8
#define LINE 3
#endif
DefinitionBlock ("", "SSDT", 2, "ATOLL", "LINES", 0x00000001)
{
    Scope (\_SB)
    {
#ifdef WITH_LPT1
        Device (LPT1)
        {
            Name (_HID, EisaId ("PNP0400"))
            Name (_UID, One)
            Name (_STA, 0x0F)
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x0378, 0x0378, 0x00, 0x03)
                IRQNoFlags () { 7 }
            })
        }
#else
        Device (NAME)
        {
            Name (_HID, EisaId ("PNP0501"))
            Name (_UID, NUMBER)
            Name (_STA, 0x0F)
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, PORT, PORT, 0x00, 0x08)
                IRQNoFlags () { LINE }
            })
        }
#endif
    }
}

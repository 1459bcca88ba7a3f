/*
 * The 82077AA's registers, commands and status bytes (Intel 82077AA data sheet, 290166), as the
 * PC/AT decodes them.
 */
#ifndef STORAGE_I82077_REGS_H
#define STORAGE_I82077_REGS_H

/* From 0x3f0 on. 0 and 1 are there in PS/2 modes only; 6 is IDE's. */
#define FDC_DOR  2
#define FDC_TDR  3
#define FDC_MSR  4 /* read */
#define FDC_DSR  4 /* write */
#define FDC_FIFO 5
#define FDC_DIR  7 /* read */
#define FDC_CCR  7 /* write */

#define FDC_DOR_DRIVE     0x03
#define FDC_DOR_NOT_RESET 0x04
#define FDC_DOR_DMA_GATE  0x08
#define FDC_DOR_MOTOR     0x10 /* of drive 0, and so on */

#define FDC_TDR_TAPE 0x03

#define FDC_MSR_BUSY    0x10
#define FDC_MSR_NON_DMA 0x20
#define FDC_MSR_DIO     0x40 /* to the host */
#define FDC_MSR_RQM     0x80

#define FDC_DSR_RESET 0x80
#define FDC_DSR_RATE  0x03

#define FDC_DIR_CHANGED 0x80

/* Commands, by their low five bits, and the flags in the others. */
#define FDC_COMMAND         0x1f
#define FDC_READ_TRACK      0x02
#define FDC_SPECIFY         0x03
#define FDC_SENSE_DRIVE     0x04
#define FDC_WRITE           0x05
#define FDC_READ            0x06
#define FDC_RECALIBRATE     0x07
#define FDC_SENSE_INTERRUPT 0x08
#define FDC_WRITE_DELETED   0x09
#define FDC_READ_ID         0x0a
#define FDC_READ_DELETED    0x0c
#define FDC_FORMAT          0x0d
#define FDC_DUMPREG         0x0e
#define FDC_SEEK            0x0f
#define FDC_VERSION         0x10
#define FDC_PERPENDICULAR   0x12
#define FDC_CONFIGURE       0x13
#define FDC_LOCK            0x14
#define FDC_VERIFY          0x16
#define FDC_SKIP            0x20
#define FDC_MFM             0x40
#define FDC_MULTI_TRACK     0x80
#define FDC_RELATIVE        0x80 /* of SEEK */
#define FDC_INWARDS         0x40 /* of a relative one: towards higher cylinders */
#define FDC_LOCK_SET        0x80

/* The second byte of most commands. */
#define FDC_UNIT        0x03
#define FDC_HEAD        0x04
#define FDC_COUNT_GIVEN 0x80 /* VERIFY: EC */

#define FDC_VERSION_82077 0x90

#define FDC_ST0_ABNORMAL     0x40
#define FDC_ST0_INVALID      0x80
#define FDC_ST0_POLLED       0xc0
#define FDC_ST0_SEEK_END     0x20
#define FDC_ST0_EQUIPMENT    0x10
#define FDC_ST1_NO_MARK      0x01 /* missing address mark */
#define FDC_ST1_NOT_WRITABLE 0x02
#define FDC_ST1_NO_DATA      0x04
#define FDC_ST1_OVERRUN      0x10
#define FDC_ST1_DATA_ERROR   0x20
#define FDC_ST1_END          0x80 /* of cylinder */
#define FDC_ST2_WRONG        0x10 /* cylinder */
#define FDC_ST2_DATA_ERROR   0x20
#define FDC_ST2_CONTROL_MARK 0x40
#define FDC_ST3_TWO_SIDED    0x08
#define FDC_ST3_TRACK_0      0x10
#define FDC_ST3_READY        0x20
#define FDC_ST3_PROTECTED    0x40

/* SPECIFY's second byte. */
#define FDC_NON_DMA 0x01

/* CONFIGURE's second byte. */
#define FDC_IMPLIED_SEEK 0x40
#define FDC_NO_FIFO      0x20
#define FDC_NO_POLL      0x10 /* kept; what it does ends with the next reset */
#define FDC_THRESHOLD    0x0f

/* PERPENDICULAR MODE. */
#define FDC_OVERWRITE      0x80
#define FDC_PERPENDICULARS 0x3c /* which drives are */
#define FDC_GAP_WGATE      0x03

#define FDC_LOCKED 0x10 /* in LOCK's answer */

#endif

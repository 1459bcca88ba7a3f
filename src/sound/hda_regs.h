/*
 * Registers of the HD Audio specification 1.0a, chapter 3, by the doubleword that they lie in.
 */
#ifndef SOUND_HDA_REGS_H
#define SOUND_HDA_REGS_H

#include "base/bits.h"

enum hda_register {
	HDA_GCAP = 0x00,    /* and VMIN, VMAJ */
	HDA_PAYLOAD = 0x04, /* OUTPAY, INPAY */
	HDA_GCTL = 0x08,
	HDA_WAKE = 0x0c, /* WAKEEN, STATESTS */
	HDA_INTCTL = 0x20,
	HDA_INTSTS = 0x24,
	HDA_WALCLK = 0x30,
	HDA_SSYNC = 0x38,
	HDA_CORB_BASE = 0x40,
	HDA_CORB_POINTERS = 0x48, /* WP, RP */
	HDA_CORB_CONTROL = 0x4c,  /* CTL, STS, SIZE */
	HDA_RIRB_BASE = 0x50,
	HDA_RIRB_POINTER = 0x58, /* WP, RINTCNT */
	HDA_RIRB_CONTROL = 0x5c, /* CTL, STS, SIZE */
	HDA_IMMEDIATE = 0x60,
	HDA_RESPONSE = 0x64,
	HDA_IMMEDIATE_STATUS = 0x68,
	HDA_POSITION_BASE = 0x70,
	HDA_STREAM = 0x80, /* CTL, STS */
	HDA_STREAM_POSITION = 0x84,
	HDA_STREAM_LENGTH = 0x88,
	HDA_STREAM_LAST = 0x8c,
	HDA_STREAM_FORMAT = 0x90, /* FIFOS, FMT */
	HDA_STREAM_LIST = 0x98,
};

#define HDA_GCTL_RUN         BIT(0)
#define HDA_STATE_CODEC      BIT(16) /* of HDA_WAKE: codec 0 is there */
#define HDA_INT_STREAM       BIT(0)
#define HDA_INT_CONTROLLER   BIT(30)
#define HDA_INT_GLOBAL       BIT(31)
#define HDA_POINTER          BITS(7, 0)
#define HDA_POINTER_RESET    BIT(15)
#define HDA_DMA_RUN          BIT(1)
#define HDA_RIRB_INTERRUPT   BIT(0)
#define HDA_RIRB_DONE        BIT(8) /* of HDA_RIRB_CONTROL: RINTFL */
#define HDA_IMMEDIATE_BUSY   BIT(0)
#define HDA_IMMEDIATE_VALID  BIT(1)
#define HDA_STREAM_RESET     BIT(0)
#define HDA_STREAM_RUN       BIT(1)
#define HDA_STREAM_INTERRUPT BIT(2)
#define HDA_STREAM_NUMBER    BITS(23, 20)
#define HDA_STREAM_DONE      BIT(26) /* of HDA_STREAM: BCIS */
#define HDA_STREAM_STATUS    BITS(28, 26)
#define HDA_STREAM_READY     BIT(29)
#define HDA_LIST_INTERRUPT   BIT(0)

#endif

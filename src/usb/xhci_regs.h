/*
 * Registers and structures of the xHCI 1.2 specification: chapters 5 and 6.
 */
#ifndef USB_XHCI_REGS_H
#define USB_XHCI_REGS_H

#include "base/bits.h"

/* Where the blocks lie in the BAR. */
#define XHCI_CAPABILITY  0x0000
#define XHCI_OPERATIONAL 0x0040
#define XHCI_PORTS       0x0440 /* OPERATIONAL + 0x400 */
#define XHCI_EXTENDED    0x0800
#define XHCI_RUNTIME     0x1000
#define XHCI_DOORBELLS   0x2000
#define XHCI_MSIX_TABLE  0x3000
#define XHCI_MSIX_PBA    0x3800
#define XHCI_BAR_SIZE    0x4000

#define XHCI_NR_PORTS_2 4 /* USB 2 comes first */
#define XHCI_NR_PORTS_3 4
#define XHCI_NR_PORTS   (XHCI_NR_PORTS_2 + XHCI_NR_PORTS_3)
#define XHCI_NR_SLOTS   16
#define XHCI_NR_DCIS    32 /* device context indices: 0 is the slot, 1 endpoint 0 */

/* 5.4 */
enum xhci_operational {
	XHCI_USBCMD = 0x00,
	XHCI_USBSTS = 0x04,
	XHCI_PAGESIZE = 0x08,
	XHCI_DNCTRL = 0x14,
	XHCI_CRCR = 0x18,
	XHCI_DCBAAP = 0x30,
	XHCI_CONFIG = 0x38,
};

#define XHCI_CMD_RUN       BIT(0)
#define XHCI_CMD_RESET     BIT(1)
#define XHCI_CMD_INTERRUPT BIT(2)
#define XHCI_CMD_WRITABLE  (BIT(0) | BIT(2) | BIT(3) | BIT(10))
#define XHCI_STS_HALTED    BIT(0)
#define XHCI_STS_ERROR     BIT(2)
#define XHCI_STS_EVENT     BIT(3)
#define XHCI_STS_PORT      BIT(4)
#define XHCI_CRCR_CYCLE    BIT(0)
#define XHCI_CRCR_STOP     BIT(1)
#define XHCI_CRCR_ABORT    BIT(2)
#define XHCI_CRCR_RUNNING  BIT(3)

/* 5.4.8 */
#define XHCI_PORT_CONNECTED   BIT(0)
#define XHCI_PORT_ENABLED     BIT(1)
#define XHCI_PORT_RESET       BIT(4)
#define XHCI_PORT_LINK        BITS(8, 5)
#define XHCI_PORT_POWER       BIT(9)
#define XHCI_PORT_SPEED       BITS(13, 10)
#define XHCI_PORT_LINK_STROBE BIT(16)
#define XHCI_PORT_CONNECT_CHG BIT(17)
#define XHCI_PORT_RESET_CHG   BIT(21)
#define XHCI_PORT_WARM_CHG    BIT(19)
#define XHCI_PORT_LINK_CHG    BIT(22)
#define XHCI_PORT_CHANGES     BITS(23, 17)
#define XHCI_PORT_WAKES       BITS(27, 25)
#define XHCI_PORT_WARM_RESET  BIT(31)
#define XHCI_LINK_U0          0
#define XHCI_LINK_U3          3
#define XHCI_LINK_RX_DETECT   5
#define XHCI_LINK_POLLING     7
#define XHCI_LINK_RESUME      15

/* 5.5 */
enum xhci_runtime {
	XHCI_MFINDEX = 0x00,
	XHCI_IMAN = 0x20,
	XHCI_IMOD = 0x24,
	XHCI_ERSTSZ = 0x28,
	XHCI_ERSTBA = 0x30,
	XHCI_ERDP = 0x38,
};

#define XHCI_IMAN_PENDING BIT(0)
#define XHCI_IMAN_ENABLE  BIT(1)
#define XHCI_ERDP_BUSY    BIT(3)

/* 6.4 */
struct xhci_trb {
	uint64_t parameter;
	uint32_t status;
	uint32_t control;
};

enum xhci_trb_type {
	XHCI_TRB_NORMAL = 1,
	XHCI_TRB_SETUP,
	XHCI_TRB_DATA,
	XHCI_TRB_STATUS,
	XHCI_TRB_ISOCH,
	XHCI_TRB_LINK,
	XHCI_TRB_EVENT_DATA,
	XHCI_TRB_NOOP,
	XHCI_TRB_ENABLE_SLOT,
	XHCI_TRB_DISABLE_SLOT,
	XHCI_TRB_ADDRESS_DEVICE,
	XHCI_TRB_CONFIGURE_ENDPOINT,
	XHCI_TRB_EVALUATE_CONTEXT,
	XHCI_TRB_RESET_ENDPOINT,
	XHCI_TRB_STOP_ENDPOINT,
	XHCI_TRB_SET_DEQUEUE,
	XHCI_TRB_RESET_DEVICE,
	XHCI_TRB_NOOP_COMMAND = 23,
	XHCI_TRB_TRANSFER_EVENT = 32,
	XHCI_TRB_COMMAND_EVENT,
	XHCI_TRB_PORT_EVENT,
};

#define XHCI_TRB_CYCLE      BIT(0)
#define XHCI_TRB_TOGGLE     BIT(1) /* of a link */
#define XHCI_TRB_SHORT      BIT(2) /* interrupt on short packet; in an event: event data */
#define XHCI_TRB_CHAIN      BIT(4)
#define XHCI_TRB_COMPLETION BIT(5) /* interrupt on completion */
#define XHCI_TRB_IMMEDIATE  BIT(6)
#define XHCI_TRB_NO_ADDRESS BIT(9) /* Address Device: BSR; Configure Endpoint: deconfigure */
#define XHCI_TRB_QUIET      BIT(9) /* of a transfer: block event interrupt */
#define XHCI_TRB_TYPE       BITS(15, 10)
#define XHCI_TRB_IN         BIT(16)
#define XHCI_TRB_ENDPOINT   BITS(20, 16)
#define XHCI_TRB_SLOT       BITS(31, 24)
#define XHCI_TRB_LENGTH     BITS(16, 0)
#define XHCI_POINTER        (~UINT64_C(0xf))

/* 6.4.5 */
enum xhci_code {
	XHCI_SUCCESS = 1,
	XHCI_DATA_BUFFER_ERROR = 2,
	XHCI_TRANSACTION_ERROR = 4,
	XHCI_TRB_ERROR = 5,
	XHCI_STALL_ERROR = 6,
	XHCI_NO_SLOTS = 9,
	XHCI_SLOT_NOT_ENABLED = 11,
	XHCI_ENDPOINT_NOT_ENABLED = 12,
	XHCI_SHORT_PACKET = 13,
	XHCI_PARAMETER_ERROR = 17,
	XHCI_CONTEXT_STATE_ERROR = 19,
	XHCI_COMMAND_STOPPED = 24,
};

/* 6.2.2 */
#define XHCI_CONTEXT_SIZE   32
#define XHCI_SLOT_ENTRIES   BITS(31, 27) /* word 0 */
#define XHCI_SLOT_ROUTE     BITS(19, 0)
#define XHCI_SLOT_SPEED     BITS(23, 20)
#define XHCI_SLOT_ROOT_PORT BITS(23, 16) /* word 1 */
#define XHCI_SLOT_ADDRESS   BITS(7, 0)   /* word 3 */
#define XHCI_SLOT_STATE     BITS(31, 27)

enum xhci_slot_phase {
	XHCI_SLOT_DISABLED,
	XHCI_SLOT_DEFAULT,
	XHCI_SLOT_ADDRESSED,
	XHCI_SLOT_CONFIGURED
};

/* 6.2.3 */
#define XHCI_EP_STATE      BITS(2, 0) /* word 0 */
#define XHCI_EP_TYPE       BITS(5, 3) /* word 1 */
#define XHCI_EP_MAX_PACKET BITS(31, 16)

enum xhci_ep_state {
	XHCI_EP_DISABLED,
	XHCI_EP_RUNNING,
	XHCI_EP_HALTED,
	XHCI_EP_STOPPED,
	XHCI_EP_ERROR
};
enum xhci_ep_type {
	XHCI_EP_BULK_OUT = 2,
	XHCI_EP_INTERRUPT_OUT = 3,
	XHCI_EP_CONTROL = 4,
	XHCI_EP_BULK_IN = 6,
	XHCI_EP_INTERRUPT_IN = 7,
};

#endif

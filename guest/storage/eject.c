/*
 * eject DEVICE: opens the tray of an optical drive, as the guest's kernel does it.
 */
#include <fcntl.h>
#include <limits.h>
#include <linux/cdrom.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int fd = argc == 2 ? open(argv[1], O_RDONLY | O_NONBLOCK) : -1;

	if (fd < 0 || ioctl(fd, CDROMEJECT) < 0) {
		perror("storage: eject");
		return 1;
	}
	/* Does the drive say so, too? */
	printf("storage: ejected, tray %s\n",
		ioctl(fd, CDROM_DRIVE_STATUS, CDSL_CURRENT) == CDS_TRAY_OPEN ? "open" : "closed");
	close(fd);
	return 0;
}

/*
 * To be preloaded: connections of this process to port 5672 go to port $SUITE_AMQP_PORT, and those
 * to 15672 go to $SUITE_MANAGEMENT_PORT. Many suites know no other way to another broker than
 * their source.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static in_port_t redirected(in_port_t port)
{
	const char *to = NULL;

	if (ntohs(port) == 5672)
		to = getenv("SUITE_AMQP_PORT");
	else if (ntohs(port) == 15672)
		to = getenv("SUITE_MANAGEMENT_PORT");
	return to != NULL && *to != '\0' ? htons((in_port_t)atoi(to)) : port;
}

int connect(int fd, const struct sockaddr *address, socklen_t length)
{
	int (*next)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
	struct sockaddr_storage copy;

	if (length > sizeof copy)
		return next(fd, address, length);
	memcpy(&copy, address, length);
	if (copy.ss_family == AF_INET && length >= sizeof(struct sockaddr_in)) {
		struct sockaddr_in *in = (struct sockaddr_in *)&copy;
		in->sin_port = redirected(in->sin_port);
	} else if (copy.ss_family == AF_INET6 && length >= sizeof(struct sockaddr_in6)) {
		struct sockaddr_in6 *in = (struct sockaddr_in6 *)&copy;
		in->sin6_port = redirected(in->sin6_port);
	}
	return next(fd, (struct sockaddr *)&copy, length);
}

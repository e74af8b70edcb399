package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// watchProcess ends this process when another ends. A pidfd stays with the
// process it was opened for, whatever becomes of the number, and is told of a
// SIGKILL too; the parent-death signal would already fire when the *thread*
// that started us ends, as every test of a threaded test runner does.
func watchProcess(pid int) error {
	if pid == 0 {
		return nil
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("--exit-with-pid %d: %w", pid, err)
	}
	go func() {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		for {
			if _, err := unix.Poll(poll, -1); err == nil || !errors.Is(err, unix.EINTR) {
				break
			}
		}
		stopSelf()
	}()
	return nil
}

// stopSelf takes the same way out as a SIGTERM from outside.
func stopSelf() { _ = syscall.Kill(os.Getpid(), syscall.SIGTERM) }

// reservePort finds a free port when asked for 0 and holds it until the API
// server, which is started with --permit-port-sharing, listens on it: a socket
// that is bound but does not listen gets no connection, and nobody else is
// given its port.
func reservePort(port int) (int, func(), error) {
	if port != 0 {
		return port, func() {}, nil
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, nil, fmt.Errorf("reserve a port: %w", err)
	}
	release := func() { _ = unix.Close(fd) }
	fail := func(err error) (int, func(), error) {
		release()
		return 0, nil, fmt.Errorf("reserve a port: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return fail(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte(net.IPv4(127, 0, 0, 1).To4())}); err != nil {
		return fail(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return fail(err)
	}
	v4, ok := name.(*unix.SockaddrInet4)
	if !ok {
		return fail(errors.New("the socket has no IPv4 address"))
	}
	return v4.Port, release, nil
}

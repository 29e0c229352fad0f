package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// restConn is a kept-alive HTTP connection that asks one thing at a time. It
// belongs to one goroutine. It reads what throng's answers have, and no more:
// net/http's client would cost the generator as much as the server spends.
type restConn struct {
	conn    net.Conn
	target  target
	token   string // sent as the bearer, "" for none
	timeout time.Duration
	in      *bufio.Reader
	out     []byte
	body    []byte // of the last answer
}

// dialREST connects. A valid source is the address to connect from.
func dialREST(ctx context.Context, t target, source netip.Addr, timeout time.Duration) (*restConn, error) {
	d := net.Dialer{Timeout: timeout}
	if source.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
	}
	conn, err := d.DialContext(ctx, "tcp", t.addr.String())
	if err != nil {
		return nil, err
	}
	return &restConn{conn: conn, target: t, timeout: timeout, in: bufio.NewReaderSize(conn, 16<<10)}, nil
}

func (c *restConn) close() { _ = c.conn.Close() }

// ask sends a request and reads the answer, whose body is valid until the next
// one. A body that is not nil is JSON.
func (c *restConn) ask(method, path string, body []byte) (status int, answer []byte, err error) {
	b := append(c.out[:0], method...)
	b = append(b, ' ')
	b = append(b, c.target.dir...)
	b = append(b, path...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, c.target.host...)
	if c.token != "" {
		b = append(b, "\r\nAuthorization: Bearer "...)
		b = append(b, c.token...)
	}
	if body != nil {
		b = append(b, "\r\nContent-Type: application/json\r\nContent-Length: "...)
		b = strconv.AppendInt(b, int64(len(body)), 10)
	}
	b = append(b, "\r\n\r\n"...)
	c.out = append(b, body...)
	if err := c.conn.SetDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, nil, err
	}
	if _, err := c.conn.Write(c.out); err != nil {
		return 0, nil, err
	}
	return c.answer()
}

// must asks, and takes another status than the wanted one for an error.
func (c *restConn) must(want int, method, path string, body []byte) ([]byte, error) {
	status, answer, err := c.ask(method, path, body)
	if err == nil && status != want {
		err = refusedRequest(method, path, status, answer)
	}
	return answer, err
}

// refusedRequest is an answer that a benchmark cannot go on with.
func refusedRequest(method, path string, status int, answer []byte) error {
	return fmt.Errorf("%s %s is answered %d: %.300s", method, path, status, bytes.TrimSpace(answer))
}

var errAnswer = errors.New("the server's answer is no HTTP that this client knows")

// answer reads one answer (RFC 9112, section 6.3).
func (c *restConn) answer() (status int, body []byte, err error) {
	line, err := c.line()
	if err != nil {
		return 0, nil, err
	}
	rest, ok := strings.CutPrefix(line, "HTTP/1.1 ")
	if !ok || len(rest) < 3 {
		return 0, nil, fmt.Errorf("%w: %.100q", errAnswer, line)
	}
	if status, err = strconv.Atoi(rest[:3]); err != nil {
		return 0, nil, fmt.Errorf("%w: %.100q", errAnswer, line)
	}
	length, chunked := 0, false
	for {
		if line, err = c.line(); err != nil {
			return 0, nil, err
		}
		if line == "" {
			break
		}
		name, value, _ := strings.Cut(line, ":")
		switch value = strings.TrimSpace(value); {
		case strings.EqualFold(name, "Content-Length"):
			if length, err = strconv.Atoi(value); err != nil || length < 0 || length > maxAnswer {
				return 0, nil, fmt.Errorf("%w: Content-Length %.100q", errAnswer, value)
			}
		case strings.EqualFold(name, "Transfer-Encoding"):
			chunked = value == "chunked"
		}
	}
	body, err = c.read(length, chunked)
	return status, body, err
}

// maxAnswer bounds an answer's body.
const maxAnswer = 128 << 20

func (c *restConn) read(length int, chunked bool) ([]byte, error) {
	if !chunked {
		c.body = append(c.body[:0], make([]byte, length)...)
		_, err := io.ReadFull(c.in, c.body)
		return c.body, err
	}
	b := bytes.NewBuffer(c.body[:0])
	if _, err := b.ReadFrom(io.LimitReader(httputil.NewChunkedReader(c.in), maxAnswer)); err != nil {
		return nil, err
	}
	c.body = b.Bytes()
	_, err := c.line() // behind the last chunk; nothing here has trailers
	return c.body, err
}

// line reads a line without its end.
func (c *restConn) line() (string, error) {
	b, err := c.in.ReadSlice('\n')
	return strings.TrimRight(string(b), "\r\n"), err
}

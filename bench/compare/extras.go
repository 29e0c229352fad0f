package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// What sides need beyond a server.

func certificatePath(dir string) string { return filepath.Join(dir, "cert.pem") }

// writeCertificate makes a self-signed certificate for 127.0.0.1, and its key.
func writeCertificate(cert, key string) error {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600),
	)
}

// trusting has the generator trust the server's certificate.
func trusting(_ *runner, p *process) ([]string, error) {
	return []string{"--ca", certificatePath(p.dir)}, nil
}

// withTokens has the generator show tokens that are signed with the secret (HS256)
// that the server has made.
func withTokens(r *runner, p *process) ([]string, error) {
	path := filepath.Join(p.dir, "tokens")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	for i := range r.plan.Users {
		sign := exec.Command(r.plan.Throng, "token", "--user", fmt.Sprintf("user-%d", i), "--data-dir", filepath.Join(p.dir, "data"))
		sign.Stdout = file
		if err := sign.Run(); err != nil {
			return nil, errors.Join(fmt.Errorf("throng token: %w", err), file.Close())
		}
	}
	return []string{"--token-file", path}, file.Close()
}

// atHalfOf has the generator send at half of the rate, in messages a second, that
// a side of the cell has reached in this round.
func atHalfOf(cell, side string) func(*runner, *process) ([]string, error) {
	return func(r *runner, _ *process) ([]string, error) {
		for i := len(r.runs) - 1; i >= 0; i-- {
			if one := &r.runs[i]; one.Cell == cell && one.Side == side {
				half := float64(one.Took.Sent) / one.Took.Seconds / 2
				return []string{"--rate", strconv.FormatFloat(half, 'f', 3, 64)}, nil
			}
		}
		return nil, fmt.Errorf("%s has not been run", side)
	}
}

// forgotten puts the files of a directory out of the kernel's cache, as far as
// they are on the disk.
func forgotten(dir string) func(*runner, *process) ([]string, error) {
	return func(*runner, *process) ([]string, error) {
		return nil, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			file, err := os.Open(path)
			if errors.Is(err, fs.ErrNotExist) {
				return nil // compacted meanwhile
			}
			if err != nil {
				return err
			}
			err = file.Sync()
			if err == nil {
				err = unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED)
			}
			return errors.Join(err, file.Close())
		})
	}
}

package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// maxRedirects is how often a fetch is sent elsewhere.
const maxRedirects = 3

// fetcher fetches one URL, within bounds.
type fetcher struct {
	url    string
	client *http.Client
}

// newFetcher uses the transport or, where it is nil, one of its own that keeps
// no connection: fetches are minutes apart.
func newFetcher(url string, transport http.RoundTripper) fetcher {
	if transport == nil {
		transport = &http.Transport{
			Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true,
			ForceAttemptHTTP2: true, MaxResponseHeaderBytes: 64 << 10,
		}
	}
	return fetcher{url, &http.Client{
		Transport: transport,
		Timeout:   fetchTimeout, // of all of it, the body included
		CheckRedirect: func(next *http.Request, before []*http.Request) error {
			switch {
			case len(before) > maxRedirects:
				return errors.New("too many redirects")
			case next.URL.Scheme != "https" && before[0].URL.Scheme == "https":
				return errors.New("a redirect leads from https to http")
			}
			return nil
		},
	}}
}

// get returns the body, which is the caller's.
func (f fetcher) get(ctx context.Context) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	request.Header.Set("User-Agent", "throng")
	response, err := f.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", request.URL.Redacted(), response.Status)
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, maxSetBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", request.URL.Redacted(), err)
	}
	return data, nil
}

//! Memory in small pages.
//!
//! A huge page is cleared as a whole by whoever touches it first. With two of them that is a tenth of a millisecond; where the
//! machine is a virtual one whose host has to find the memory as well it was seen to be two milliseconds, in the middle of a
//! request. What millions of holds would gain by fewer pages is less.

/// From here on the process gets no huge pages, whatever the machine's setting is.
pub fn keep_small() {
    // An old kernel, or one without huge pages, knows nothing of it.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

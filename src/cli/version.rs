//! `coremap --version`: which sources this is, how they were built, and what this CPU could do.

/// The text; its first line is the version alone, for who reads but that.
pub(super) fn text() -> String {
    let flags = match env!("COREMAP_BUILD_FLAGS") {
        "" => "none",
        flags => flags,
    };
    format!(
        "coremap {} ({})\n\
         built         {}, {}, {}\n\
         flags         {flags}\n\
         compiled for  {}\n\
         this CPU has  {}\n",
        env!("CARGO_PKG_VERSION"),
        env!("COREMAP_BUILD_COMMIT"),
        env!("COREMAP_BUILD_PROFILE"),
        env!("COREMAP_BUILD_TARGET"),
        env!("COREMAP_BUILD_COMPILER"),
        env!("COREMAP_BUILD_CPU_FEATURES"),
        cpu_features().join(" "),
    )
}

/// Those that change how fast hashing, checksums, searching and copying are.
fn cpu_features() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    let features = [
        ("sse4.2", is_x86_feature_detected!("sse4.2")),
        ("popcnt", is_x86_feature_detected!("popcnt")),
        ("aes", is_x86_feature_detected!("aes")),
        ("pclmulqdq", is_x86_feature_detected!("pclmulqdq")),
        ("bmi1", is_x86_feature_detected!("bmi1")),
        ("bmi2", is_x86_feature_detected!("bmi2")),
        ("avx", is_x86_feature_detected!("avx")),
        ("avx2", is_x86_feature_detected!("avx2")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
    ];
    #[cfg(target_arch = "aarch64")]
    let features = [
        ("neon", std::arch::is_aarch64_feature_detected!("neon")),
        ("aes", std::arch::is_aarch64_feature_detected!("aes")),
        ("crc", std::arch::is_aarch64_feature_detected!("crc")),
        ("lse", std::arch::is_aarch64_feature_detected!("lse")),
        ("sve", std::arch::is_aarch64_feature_detected!("sve")),
    ];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let features: [(&str, bool); 0] = [];
    features
        .into_iter()
        .filter_map(|(name, is_there)| is_there.then_some(name))
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_first_line_is_name_and_version_and_the_rest_is_aligned() {
        let text = super::text();
        let mut lines = text.lines();
        let first = lines.next().expect("it has one");
        assert!(
            first.starts_with(concat!("coremap ", env!("CARGO_PKG_VERSION"), " (")),
            "{text}"
        );
        for line in lines {
            assert!(
                line[..14].ends_with("  ") && line.as_bytes()[14] != b' ',
                "{text}"
            );
        }
        assert!(
            text.contains("rustc ") && text.contains("opt-level"),
            "{text}"
        );
    }
}

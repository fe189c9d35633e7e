"""Functions of Spark 3.5 that the table does not hold: they are refused by another sentence than typos."""

KNOWN_TO_SPARK = frozenset(
    """aes_decrypt aes_encrypt approx_percentile array_agg array_append array_insert array_prepend array_sort
    assert_true atan2 bin bit_and bit_count bit_get bit_length bit_or bit_xor bitmap_bit_position bround btrim
    cbrt collect_list collect_set conv convert_timezone corr covar_pop covar_samp crc32 csc cube current_catalog
    current_database current_user date_from_unix_date date_part decode encode elt equal_null
    factorial find_in_set format_string forall from_csv from_json getbit get_json_object grouping grouping_id
    hash hll_sketch_agg histogram_numeric inline input_file_name java_method json_array_length json_object_keys
    json_tuple kurtosis levenshtein localtimestamp make_dt_interval make_interval make_timestamp make_ym_interval
    map_concat map_entries map_filter map_from_arrays map_from_entries map_zip_with mask max_by min_by mode
    monotonically_increasing_id named_struct ngrams now octet_length parse_url percentile percentile_approx
    percentile_cont percentile_disc printf quote raise_error rand randn random reflect regr_count regr_slope
    schema_of_json sec sentences sequence session_window shuffle skewness soundex spark_partition_id stack
    str_to_map split_part substring_index timestamp_micros timestamp_millis timestamp_seconds to_binary to_char
    to_csv to_json to_number to_unix_timestamp transform_keys transform_values try_add try_avg try_divide
    try_element_at try_multiply try_subtract try_sum try_to_binary try_to_number try_to_timestamp typeof
    unbase64 unix_date unix_micros unix_millis unix_seconds url_decode url_encode uuid version width_bucket
    window window_time xpath xxhash64 zip_with""".split()
)
